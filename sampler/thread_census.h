// Which threads there are, for a collector that asks a hundred times a second.
//
//   ThreadCensus census;
//   if (census.look(now)) timers.follow(census.tids(), own_tid);     // each round
//
// Listing /proc/self/task costs 13 us for 20 threads and grows with them. That no thread has begun
// and none has ended shows in two numbers, which cost 0.6 us: how many threads there are (the link
// count of the directory), and which id the kernel gave out last. As long as both are the same, so is
// the list. Where the second cannot be read (/proc/sys hidden, a kernel without
// CONFIG_CHECKPOINT_RESTORE) each look lists.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"

namespace vigil::sampler {

// Not thread-safe. Keeps two descriptors (O_CLOEXEC); not to be used in a forked child.
class ThreadCensus {
 public:
  ThreadCensus();

  // True: tids() may be others than before. A thread that appears just while another one ends, and
  // had got its id before the look before, is met within kListAge. Where the list cannot be read the
  // old one serves on.
  bool look(MonotonicTime now);

  // Ascending; empty before the first look.
  std::span<const pid_t> tids() const { return tids_; }

  static constexpr Duration kListAge = std::chrono::milliseconds(100);

 private:
  struct Count {
    std::uint64_t links = 0;
    std::int64_t last_id = 0;
    friend bool operator==(const Count&, const Count&) = default;
  };
  // Nothing if it is not known.
  std::optional<Count> count() const;

  UniqueFd directory_;
  UniqueFd last_id_;
  std::optional<Count> counted_;
  MonotonicTime listed_{};
  std::vector<pid_t> tids_;
};

}  // namespace vigil::sampler
