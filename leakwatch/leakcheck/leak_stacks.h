// The stacks of leaks: a private part of LeakCheck.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "leakwatch/leakcheck/leak_check.h"

namespace vigil::leakwatch {

// Made when the first leak is looked at and gone with the check: a program that does not leak pays
// nothing and has no signal handler of ours.
class LeakCheck::Stacks {
 public:
  // `given`: may be null. What cannot be made is said by absent(), and leaks then come with fewer
  // stacks.
  Stacks(StackSource* given, Clock& clock);
  ~Stacks();

  std::vector<Leak> look_up(std::vector<Resource> found);
  const std::string& absent() const { return absent_; }

 private:
  struct Sampler;
  void make_source();
  void capture(std::vector<Leak>& leaks);
  void symbolize(Leak& leak);

  Clock& clock_;
  StackSource* source_;
  std::string absent_;
  std::unique_ptr<Sampler> sampler_;
};

}  // namespace vigil::leakwatch
