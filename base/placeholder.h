// A descriptor that only keeps a number, to be given up when one is needed and there is no other; and
// several of them.
//
//   Placeholders kept(2);
//   kept.restock();
//   …                                // EMFILE
//   if (kept.give_one()) …           // one more open() succeeds
//   kept.restock();                  // after its close()
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "base/fd.h"

namespace vigil {

// Opens /dev/null. Unset, with errno, if there is no descriptor left. Thread-safe.
UniqueFd take_placeholder();

// Closes it, unless its number stands for another file by now: a program that has closed all
// descriptors that it did not open may have come to use it itself. Thread-safe.
void drop_placeholder(UniqueFd placeholder);

// Up to `wanted` of them; none at first. Thread-safe. Allocates when it is made, and never again.
class Placeholders {
 public:
  explicit Placeholders(std::size_t wanted);
  // Drops them.
  ~Placeholders() { give_all(); }
  Placeholders(const Placeholders&) = delete;
  Placeholders& operator=(const Placeholders&) = delete;

  // Takes what is missing, or what can be got of it. One system call each.
  void restock();

  // Drops one. false: there is none.
  bool give_one();
  void give_all();

  std::size_t held() const;
  // Costs one load: whoever closes a descriptor may ask each time whether to restock.
  std::size_t missing() const { return missing_.load(std::memory_order_relaxed); }

 private:
  void give_last();  // with mutex_ held

  mutable std::mutex mutex_;
  std::vector<UniqueFd> held_;  // guarded by mutex_
  std::atomic<std::size_t> missing_;
};

}  // namespace vigil
