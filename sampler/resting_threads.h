// Threads that have not run since their stack was taken: it is as it was.
//
//   if (const ThreadStack* known = resting.find(tid, witness)) …      // one file read
//   else { …capture…; resting.keep(thread, witness); }
//   resting.end_capture(*modules.current());
//
// What the kernel has counted of a thread (schedstat: how often it was put on a processor, for how
// many nanoseconds, and how many it waited for one) names a moment of its life: as long as all three
// are the same it has not run, so it is in the same call with the same stack. A thousand handlers
// that hang cost a thousand captures once, and a read each from then on. A new thread that has got
// an old one's number would have to agree in the nanoseconds too.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "sampler/module_table.h"
#include "sampler/thread_snapshot.h"

namespace vigil::sampler {

// Not thread-safe (StackCollector's mutex guards its own). Memory: some 700 bytes a thread, for
// twice as many as the last capture had and kSpare more.
class RestingThreads {
 public:
  static constexpr std::size_t kSpare = 1024;

  // A moment of a thread's life.
  struct Moment {
    std::uint64_t runs = 0;
    ThreadTimes times;
    friend bool operator==(const Moment&, const Moment&) = default;
  };

  bool knows(pid_t tid) const { return threads_.contains(tid); }
  // As captured at that moment; null if it was not. Its name and work are not to be used: other
  // threads may have changed the first, and the second is not kept. Valid until the next call.
  const ThreadStack* find(pid_t tid, const Moment& now);
  // Only what was read whole from outside: kSignalFree without a failure.
  void keep(const ThreadStack& thread, const Moment& now);

  // Frames in code that came or went are walked anew; threads that were not asked for are forgotten
  // when there are many of them.
  void begin_capture(const ModuleTable* modules);
  void end_capture(std::size_t threads);

  std::size_t size() const { return threads_.size(); }

 private:
  struct Entry {
    Moment moment;
    ThreadStack thread;
    std::uint64_t asked = 0;  // in which capture
  };

  std::unordered_map<pid_t, Entry> threads_;
  std::uint64_t capture_ = 0;
  const ModuleTable* modules_ = nullptr;  // compared, never followed
};

}  // namespace vigil::sampler
