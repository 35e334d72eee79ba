// Labels of a program's own, for the samples of what runs under them.
//
//   vigil::with_labels({{"tenant", "acme"}}, [&] { serve(order); });
//
//   vigil::LabelScope labels({{"tenant", "acme"}, {"plan", "gold"}});   // until the scope ends
//
//   // To another thread: labels, and the task that they belong to.
//   pool.run([carried = vigil::CarriedLabels::current()] {
//     vigil::LabelScope labels(carried);
//     …
//   });
//
// Every CPU and wall sample, and every thread in a dump, that is taken inside carries them beside
// `route` and `method`. Nested scopes merge; the inner one wins where both have a key. A program
// that has its own router may set "route" and "method" itself: they replace the task's, and
// `?route=` finds them.
//
// Lifetime: a set of labels is immutable and counted. The scope holds one reference, each sample
// that the signal handler takes one more, so a set lives until the last sample of it is counted.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sampler/sigsafe/thread_work.h"
#include "sampler/slot_edge.h"

namespace vigil {
namespace sampler {

// Ascending by key, each key once.
struct LabelSet : sigsafe::CountedLabels {
  std::vector<std::pair<std::string, std::string>> pairs;

  // Null if it is not there.
  const std::string* find(std::string_view key) const;
};

// A reference to a LabelSet, or to none. Copies share. Thread-safe as an int is: not.
class LabelsRef {
 public:
  LabelsRef() = default;
  // Takes over a reference that the caller holds.
  static LabelsRef adopt(sigsafe::CountedLabels* labels) { return LabelsRef(labels); }
  // Adds one.
  static LabelsRef share(sigsafe::CountedLabels* labels);
  ~LabelsRef();
  LabelsRef(const LabelsRef& other) : LabelsRef(share(other.labels_)) {}
  LabelsRef(LabelsRef&& other) noexcept : labels_(std::exchange(other.labels_, nullptr)) {}
  LabelsRef& operator=(LabelsRef other) noexcept {
    std::swap(labels_, other.labels_);
    return *this;
  }

  const LabelSet* get() const { return static_cast<const LabelSet*>(labels_); }
  sigsafe::CountedLabels* counted() const { return labels_; }

 private:
  explicit LabelsRef(sigsafe::CountedLabels* labels) : labels_(labels) {}
  sigsafe::CountedLabels* labels_ = nullptr;
};

// Gives a slot's reference back.
inline void release_labels(sigsafe::WorkMark& work) {
  acquire_from_slot(work.labels);
  LabelsRef::adopt(std::exchange(work.labels, nullptr));
}

// Labels that did not fit since the process began: too many in a set, or a key that is empty, too
// long or reserved ("pprof::…").
std::uint64_t labels_dropped();

}  // namespace sampler

// What a set holds at most. Longer values are cut (at a character's boundary); labels beyond the
// number are dropped and counted.
inline constexpr std::size_t kLabelsMax = 16;
inline constexpr std::size_t kLabelKeyBytesMax = 64;
inline constexpr std::size_t kLabelValueBytesMax = 256;

using LabelList = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// The labels and the task of one thread, to be set on another. May outlive the scope that it was
// taken in. Cheap to copy.
class CarriedLabels {
 public:
  // Those of the calling thread.
  static CarriedLabels current();

 private:
  friend class LabelScope;
  sampler::LabelsRef labels_;
  sampler::sigsafe::WorkMark task_;
};

// Labels for what the calling thread does until the scope ends. Ends on the thread that began it,
// in the reverse order of its beginning. Not signal-safe. Cost: one allocation for the set and one
// for each text that is too long to be in place (15 bytes), about 150 ns.
class LabelScope {
 public:
  explicit LabelScope(LabelList labels);
  // Labels and task are as they were where `carried` was taken, whatever this thread had.
  explicit LabelScope(const CarriedLabels& carried);
  ~LabelScope();
  LabelScope(const LabelScope&) = delete;
  LabelScope& operator=(const LabelScope&) = delete;

 private:
  void enter(sampler::LabelsRef labels);

  sampler::LabelsRef outer_;
  sampler::sigsafe::WorkMark outer_task_;
  bool has_task_ = false;
};

// Calls `body` under `labels`; gives what it gives.
template <typename Body>
decltype(auto) with_labels(LabelList labels, Body&& body) {
  const LabelScope scope(labels);
  return std::forward<Body>(body)();
}
template <typename Body>
decltype(auto) with_labels(const CarriedLabels& carried, Body&& body) {
  const LabelScope scope(carried);
  return std::forward<Body>(body)();
}

}  // namespace vigil
