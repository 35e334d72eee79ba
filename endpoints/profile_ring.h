// ProfileRing: the last profiles that were taken without anybody asking, and /debug/profiles, where
// they are read.
//
//   ProfileRing ring(16 << 20);
//   ring.add({.taken = wall, .kind = "cpu", .reason = "queue wait 310ms", .bytes = gzipped});
//
// When something went wrong at four in the morning, what was going on just then is in here.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

struct KeptProfile {
  std::uint64_t number = 0;  // from 1, given by add()
  WallTime taken{};          // when its capture began
  std::string kind;          // "cpu", "heap", "stacks": also the first part of its file's name
  std::string reason;        // "every 1m", or what a trigger has seen
  std::string suffix;        // of its file: ".pb.gz", ".txt"
  std::string bytes;
};

// Thread-safe.
class ProfileRing {
 public:
  // Holds profiles of `bytes_max` in all.
  explicit ProfileRing(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Puts it in, and the oldest out until all fit. One that alone does not fit is dropped. Both are
  // counted.
  void add(KeptProfile profile);

  // Newest first, without their bytes; `sizes` of the same order.
  struct Listed {
    KeptProfile profile;  // without bytes
    std::size_t size = 0;
  };
  std::vector<Listed> list() const;

  // nullopt: never there, or not any more.
  std::optional<KeptProfile> find(std::uint64_t number) const;

  struct Counters {
    std::uint64_t added = 0;
    std::uint64_t pushed_out = 0;  // by newer ones
    std::uint64_t too_large = 0;
    std::size_t bytes = 0;  // held now
  };
  Counters counters() const;

 private:
  const std::size_t bytes_max_;
  mutable std::mutex mutex_;
  std::deque<KeptProfile> kept_;  // guarded by mutex_; the oldest first
  Counters counters_;             // guarded by mutex_
};

// GET /debug/profiles: the list; format=json. id=N: that one, as a file. 501 where none are kept.
Page kept_profiles_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
