// ProfileKeeper: takes profiles without being asked, every so often and when a trigger fires, and
// puts them into a ProfileRing.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "endpoints/profile_ring.h"
#include "endpoints/services.h"
#include "endpoints/triggers.h"

namespace vigil {

// Whether the options ask for any profile to be kept.
bool keeps_profiles(const KeepProfilesOptions& options);

// One thread, which looks once a second and captures in between: a trigger that fires while a
// capture runs is seen behind it. Captures do not count at the pages' CaptureGate.
class ProfileKeeper {
 public:
  static constexpr Duration kLook = std::chrono::seconds(1);

  // `ring` and what `services` refers to must outlive it.
  ProfileKeeper(const KeepProfilesOptions& options, const endpoints::Services& services,
                endpoints::ProfileRing& ring, LogSink& sink);
  // Ends a capture early.
  ~ProfileKeeper();
  ProfileKeeper(const ProfileKeeper&) = delete;
  ProfileKeeper& operator=(const ProfileKeeper&) = delete;

  // Starts the thread; resource_exhausted if there is none.
  Result<void> start();

 private:
  void run(std::stop_token stop);
  void step(std::stop_token stop);
  void take_what_fired(const std::stop_token& stop);
  void take_cpu(const std::string& reason, int hz, std::stop_token stop);
  void take_page(const char* kind, const char* query, const std::string& reason,
                 endpoints::Page (*render)(const endpoints::PageRequest&,
                                           const endpoints::Services&));
  endpoints::TriggerFigures figures() const;

  const KeepProfilesOptions options_;
  const endpoints::Services& services_;
  endpoints::ProfileRing& ring_;
  const Logger log_;
  endpoints::Triggers triggers_;
  MonotonicTime next_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

}  // namespace vigil
