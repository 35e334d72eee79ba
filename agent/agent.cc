#include "agent/agent.h"

#include <fstream>
#include <new>
#include <system_error>

#include "agent/debug_listener.h"
#include "agent/profile_keeper.h"
#include "base/process_counts.h"
#include "endpoints/debug_pages.h"
#include "endpoints/pages.h"
#include "endpoints/process.h"
#include "endpoints/profile_ring.h"
#include "endpoints/services.h"
#include "leakwatch/live_stacks.h"
#include "sampler/contention_profiler.h"
#include "sampler/cpu_profiler.h"
#include "sampler/heap_profiler.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/stack_text.h"
#include "sampler/symbolizer.h"
#include "sampler/thread_snapshot.h"
#include "sampler/unwinder.h"
#include "sampler/wall_profiler.h"
#include "server-core/server.h"

namespace vigil {
namespace {

// Of the debug listener's own: a table for each of its connections several times over.
constexpr std::size_t kDebugTasksMax = 512;

std::vector<std::string> own_command_line() {
  std::vector<std::string> arguments;
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string argument;
  while (std::getline(file, argument, '\0')) arguments.push_back(argument);
  return arguments;
}

endpoints::ServerSource source_of(std::string name, const http::Server& server) {
  return {.name = std::move(name),
          .stats = [&server] { return server.stats(); },
          .phase = [&server] { return server.phase(); },
          .connections =
              [&server](std::size_t limit, MonotonicTime deadline) {
                return server.connections(limit, deadline);
              }};
}

}  // namespace

// In the order of construction: each part uses only those above it.
struct Agent::Parts {
  Parts(leakwatch::TaskRegistry& task_registry, LogSink& sink, Clock& clk)
      : clock(clk),
        tasks(task_registry),
        log(sink, "agent"),
        listener_tasks(clk, {.tasks_max = kDebugTasksMax}) {}

  Clock& clock;
  leakwatch::TaskRegistry& tasks;
  Logger log;

  sampler::Modules modules;
  sampler::Unwinder unwinder{modules};
  std::unique_ptr<sampler::SignalChannel> channel;
  std::unique_ptr<sampler::StackCollector> collector;
  std::unique_ptr<sampler::Symbolizer> symbolizer;
  std::unique_ptr<sampler::CpuProfiler> cpu;
  std::unique_ptr<sampler::WallProfiler> wall;
  std::unique_ptr<sampler::HeapProfiler> heap;
  std::string heap_absent;
  std::unique_ptr<sampler::ContentionProfiler> contention;
  std::string contention_absent;
  std::unique_ptr<leakwatch::LiveStacks> stacks;
  std::unique_ptr<leakwatch::Watchdog> watchdog;
  leakwatch::TaskRegistry listener_tasks;
  endpoints::MetricSources sources;
  endpoints::CaptureGate captures;
  endpoints::ProfileTotals totals;
  endpoints::DeltaBaselines baselines;
  endpoints::Reserves reserves{
      {.descriptors = spare_descriptors(endpoints::ReservesOptions().descriptors)}};
  std::unique_ptr<endpoints::Services> services;
  std::unique_ptr<endpoints::ProfileRing> ring;
  std::unique_ptr<ProfileKeeper> keeper;
  std::optional<endpoints::DebugPages> pages;
  std::unique_ptr<http::Server> listener;

  Result<void> start_sampler();
  void start_heap(std::int64_t sample_bytes);
  Result<void> start_contention(Duration rate);
  Result<void> start_watchdog(const AgentOptions& options, LogSink& sink);
  Result<void> start_listener(const AgentOptions& options, LogSink& sink);
};

Result<void> Agent::Parts::start_sampler() {
  auto table = modules.refresh();
  if (!table) return std::move(table).error();
  auto symbols = sampler::Symbolizer::create({});
  if (!symbols) return std::move(symbols).error();
  symbolizer = *std::move(symbols);
  auto installed = sampler::SignalChannel::install({});
  if (!installed) return std::move(installed).error();
  channel = *std::move(installed);
  auto created = sampler::StackCollector::create({}, clock, modules, unwinder, *channel);
  if (!created) return std::move(created).error();
  collector = *std::move(created);
  cpu = std::make_unique<sampler::CpuProfiler>(clock, modules, unwinder, *channel);
  wall = std::make_unique<sampler::WallProfiler>(clock, *collector);
  stacks = std::make_unique<leakwatch::LiveStacks>(*collector, modules, *symbolizer);
  return {};
}

// A program whose allocator has no sampler is served everything but the heap pages, which say why.
void Agent::Parts::start_heap(std::int64_t sample_bytes) {
  if (sample_bytes == 0) {
    heap_absent = "heap sampling is switched off in this process (heap_sample_bytes is 0)";
    return;
  }
  auto created = sampler::HeapProfiler::create(modules, unwinder);
  if (!created) {
    heap_absent = created.error().message();
    return;
  }
  heap = *std::move(created);
  const Result<void> enabled = heap->enable({.interval_bytes = sample_bytes});
  // Busy means that the program has switched the sampler on itself, which serves as well.
  if (!enabled && enabled.error().code() != ErrorCode::kBusy) {
    heap_absent = enabled.error().message();
    heap.reset();
  }
}

// A program without the interposed lock functions is served everything else.
Result<void> Agent::Parts::start_contention(Duration rate) {
  auto created = sampler::ContentionProfiler::create({.rate = rate}, clock, modules, unwinder);
  if (created) {
    contention = *std::move(created);
    return {};
  }
  if (created.error().code() != ErrorCode::kUnsupported) return std::move(created).error();
  contention_absent = created.error().message();
  return {};
}

Result<void> Agent::Parts::start_watchdog(const AgentOptions& options, LogSink& sink) {
  auto created = leakwatch::Watchdog::create({.threshold = options.stuck_after,
                                              .label_thresholds = options.stuck_after_routes,
                                              .high_watermarks = options.high_watermarks,
                                              .callbacks = options.watchdog_callbacks},
                                             tasks, *stacks, sink, clock);
  if (!created) return std::move(created).error();
  watchdog = *std::move(created);
  watchdog->start();
  return {};
}

Result<void> Agent::Parts::start_listener(const AgentOptions& options, LogSink& sink) {
  const auto arguments = options.command_line.empty() ? own_command_line() : options.command_line;
  services = std::make_unique<endpoints::Services>(endpoints::Services{
      .clock = clock,
      .tasks = tasks,
      .watchdog = *watchdog,
      .stacks = *stacks,
      .modules = modules,
      .symbolizer = *symbolizer,
      .collector = *collector,
      .cpu = *cpu,
      .wall = *wall,
      .captures = captures,
      .totals = totals,
      .baselines = baselines,
      .heap = heap.get(),
      .heap_absent = heap_absent,
      .contention = contention.get(),
      .contention_absent = contention_absent,
      .changes = options.changes == AgentOptions::Changes::kAllowed ? endpoints::Changes::kAllowed
                                                                    : endpoints::Changes::kRefused,
      .log_level = options.log_level,
      .reserves = &reserves,
      .sources = &sources,
      .command_line = endpoints::redacted_arguments(arguments)});
  if (keeps_profiles(options.keep_profiles)) {
    ring = std::make_unique<endpoints::ProfileRing>(options.keep_profiles.bytes_max);
    services->kept_profiles = ring.get();
    keeper = std::make_unique<ProfileKeeper>(options.keep_profiles, *services, *ring, sink);
    if (Result<void> started = keeper->start(); !started) return started;
  }
  pages.emplace(*services, options.debug_token);
  auto created = open_debug_listener(
      options, endpoints::debug_handler(*services, listener_tasks, options.debug_token),
      listener_tasks, sink, clock);
  if (!created) return std::move(created).error().with_context("cannot start the debug listener");
  listener = *std::move(created);
  return listener->start();
}

Result<std::unique_ptr<Agent>> Agent::start(AgentOptions options, leakwatch::TaskRegistry& tasks,
                                            LogSink& sink, Clock& clock) try {
  if (Result<void> checked = check_debug_reach(options); !checked) {
    return std::move(checked).error();
  }
  auto parts = std::make_unique<Parts>(tasks, sink, clock);
  if (Result<void> started = parts->start_sampler(); !started) {
    return std::move(started).error().with_context("cannot start the sampler");
  }
  parts->start_heap(options.heap_sample_bytes);
  if (Result<void> started = parts->start_contention(options.contention_rate); !started) {
    return std::move(started).error();
  }
  if (Result<void> started = parts->start_watchdog(options, sink); !started) {
    return std::move(started).error();
  }
  if (Result<void> started = parts->start_listener(options, sink); !started) {
    return std::move(started).error();
  }
  return std::unique_ptr<Agent>(new Agent(std::move(parts)));
} catch (const std::system_error& error) {
  return Error(ErrorCode::kResourceExhausted,
               std::string("no thread for the agent: ") + error.what());
} catch (const std::bad_alloc&) {
  return Error(ErrorCode::kResourceExhausted, "no memory for the agent");
}

Agent::Agent(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Agent::~Agent() = default;

const HostPort& Agent::debug_endpoint() const { return parts_->listener->endpoint(); }

DebugResponse Agent::debug_page(const DebugRequest& request) const {
  return parts_->pages->handle(request);
}

void Agent::add_server(std::string name, const http::Server& server, const http::Router& router) {
  endpoints::ServerSource source = source_of(std::move(name), server);
  // The router is a handle; the copy keeps the routes.
  source.routes = [router] { return router.stats(); };
  parts_->sources.add(std::move(source));
}

void Agent::add_server(std::string name, const http::Server& server) {
  parts_->sources.add(source_of(std::move(name), server));
}

void Agent::add_timeout_pool(std::string name, const http::TimeoutPool& pool) {
  parts_->sources.add(endpoints::TimeoutPoolSource{.name = std::move(name),
                                                   .stats = [&pool] { return pool.stats(); }});
}

std::string Agent::stack_text(const sampler::Stack& stack) const {
  return sampler::stack_text(stack, *parts_->modules.current(), parts_->symbolizer.get());
}

const leakwatch::Watchdog& Agent::watchdog() const { return *parts_->watchdog; }

leakwatch::StackSource& Agent::stacks() { return *parts_->stacks; }

void Agent::server_is_draining() { parts_->watchdog->server_is_draining(); }

void Agent::log_shutdown(const http::ShutdownReport& report) {
  parts_->log.info("server shut down", {{"drained", report.drained},
                                        {"closed_idle", report.closed_idle},
                                        {"forced", report.forced},
                                        {"hijacked_closed", report.hijacked_closed},
                                        {"hijacked_forced", report.hijacked_forced},
                                        {"still_running", report.running.size()}});
  std::vector<pid_t> threads;
  for (const http::RunningHandler& handler : report.running) threads.push_back(handler.tid);
  const auto stacks =
      parts_->stacks->capture(threads, parts_->clock.now() + std::chrono::milliseconds(500));
  for (std::size_t i = 0; i < threads.size(); ++i) {
    const http::RunningHandler& handler = report.running[i];
    parts_->log.error("handler still running at shutdown",
                      {{"label", handler.label},
                       {"task", static_cast<std::uint64_t>(handler.task)},
                       {"age_ms", whole_milliseconds(handler.age)},
                       {"thread", handler.tid},
                       {"state", stacks[i].state},
                       {"stack", format_stack(stacks[i])}});
  }
}

}  // namespace vigil
