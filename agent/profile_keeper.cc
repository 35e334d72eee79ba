#include "agent/profile_keeper.h"

#include <pthread.h>

#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/core.h>

#include "base/signal_mask.h"
#include "base/text.h"
#include "endpoints/metrics.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
#include "sampler/own_wait.h"

namespace vigil {
namespace {

using endpoints::Page;
using endpoints::PageRequest;

bool watches(const endpoints::TriggerOptions& triggers) {
  return triggers.queue_wait != Duration(0) || triggers.p99 != Duration(0) ||
         triggers.resident_bytes_per_minute != 0 || triggers.stuck_reports != 0;
}

endpoints::TriggerOptions trigger_options(const KeepProfilesOptions& options) {
  return {.queue_wait = options.when_queue_wait,
          .p99 = options.when_p99,
          .resident_bytes_per_minute = options.when_resident_bytes_per_minute,
          .stuck_reports = options.when_stuck_reports,
          .cooldown = options.cooldown};
}

void add(http::HandlerStats& sum, const http::HandlerStats& more) {
  for (std::size_t i = 0; i < sum.durations.size(); ++i) sum.durations[i] += more.durations[i];
  for (std::size_t i = 0; i < sum.status_classes.size(); ++i) {
    sum.status_classes[i] += more.status_classes[i];
  }
}

}  // namespace

bool keeps_profiles(const KeepProfilesOptions& options) {
  return options.every != Duration(0) || watches(trigger_options(options));
}

ProfileKeeper::ProfileKeeper(const KeepProfilesOptions& options,
                             const endpoints::Services& services, endpoints::ProfileRing& ring,
                             LogSink& sink)
    : options_(options),
      services_(services),
      ring_(ring),
      log_(sink, "agent"),
      triggers_(trigger_options(options)),
      next_(services.clock.now() + options.every) {}

ProfileKeeper::~ProfileKeeper() = default;

Result<void> ProfileKeeper::start() {
  const SignalMaskGuard guard = SignalMaskGuard::program_signals();
  try {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  } catch (const std::system_error&) {
    return Error(ErrorCode::kResourceExhausted, "no thread to take profiles on");
  }
  pthread_setname_np(thread_.native_handle(), "vigil-keeper");
  return {};
}

void ProfileKeeper::run(std::stop_token stop) {
  const sampler::OwnWait all_its_life;
  while (!stop.stop_requested()) {
    try {
      step(stop);
    } catch (const std::exception& error) {
      log_.warn("a profile could not be kept", {{"exception", error.what()}});
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kLook, [] { return false; });
  }
}

void ProfileKeeper::step(std::stop_token stop) {
  if (watches(trigger_options(options_))) take_what_fired(stop);
  if (options_.every == Duration(0) || services_.clock.now() < next_) return;
  next_ = services_.clock.now() + options_.every;
  take_cpu("every " + format_duration(options_.every), options_.hz, stop);
}

void ProfileKeeper::take_what_fired(const std::stop_token& stop) {
  for (const endpoints::Triggered& fired : triggers_.step(figures())) {
    log_.warn("a trigger takes profiles: /debug/profiles", {{"reason", fired.reason}});
    // What does not wait comes first: it is of the moment.
    take_page("stacks", "debug=2", fired.reason, endpoints::goroutine_page);
    take_page("heap", "", fired.reason, endpoints::snapshot_page<endpoints::take_heap>);
    take_cpu(fired.reason, sampler::kCpuHzDefault, stop);
  }
}

void ProfileKeeper::take_cpu(const std::string& reason, int hz, std::stop_token stop) {
  const std::string query = fmt::format(
      "seconds={}&hz={}", std::chrono::ceil<std::chrono::seconds>(options_.length).count(), hz);
  const WallTime began = services_.clock.wall_now();
  Page page = endpoints::cpu_profile_page({.raw_query = query,
                                           .query = http::QueryParams::parse(query),
                                           .client = "kept",
                                           .stop = std::move(stop)},
                                          services_);
  if (page.status != 200) return;
  ring_.add({.taken = began,
             .kind = "cpu",
             .reason = reason,
             .suffix = ".pb.gz",
             .bytes = std::move(page.body)});
}

void ProfileKeeper::take_page(const char* kind, const char* query, const std::string& reason,
                              Page (*render)(const PageRequest&, const endpoints::Services&)) {
  const WallTime began = services_.clock.wall_now();
  Page page = render(
      {.raw_query = query, .query = http::QueryParams::parse(query), .client = "kept"}, services_);
  if (page.status != 200) return;  // no heap sampler: then without its profile
  const bool text = page.content_type.starts_with("text/");
  ring_.add({.taken = began,
             .kind = kind,
             .reason = reason,
             .suffix = text ? ".txt" : ".pb.gz",
             .bytes = std::move(page.body)});
}

endpoints::TriggerFigures ProfileKeeper::figures() const {
  endpoints::TriggerFigures figures;
  figures.now = services_.clock.now();
  if (options_.when_resident_bytes_per_minute != 0) {
    figures.resident_bytes = endpoints::process_figures().resident_bytes;
  }
  figures.stuck_reports = services_.watchdog.counters().flagged;
  if (services_.sources == nullptr) return figures;
  for (const endpoints::ServerSource& server : services_.sources->servers()) {
    const http::ServerStats stats = server.stats();
    figures.queue_left += stats.queue.entered - stats.connections.queued;
    figures.queue_waited += stats.queue.waited;
    add(figures.handlers, stats.unrouted);
    if (!server.routes) continue;
    for (const http::RouteStats& route : server.routes()) add(figures.handlers, route.handler);
  }
  return figures;
}

}  // namespace vigil
