// Agent: the composition root. Starts the sampler, the watchdog and the debug listener of a
// process, and stops them.
//
//   SystemClock clock;
//   JsonLineSink sink;
//   leakwatch::TaskRegistry tasks(clock);                     // shared with the program's servers
//   auto agent = Agent::start({.debug_listen = {"127.0.0.1", 6060}}, tasks, sink, clock);
//   if (!agent) … agent.error().message() …
//
// Then: curl http://127.0.0.1:6060/debug/pprof/
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "base/text.h"
#include "endpoints/debug_exchange.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/address.h"
#include "server-core/router.h"
#include "server-core/server.h"
#include "server-core/server_stats.h"
#include "server-core/timeout_pool.h"

namespace vigil {

// Which profiles are taken without anybody asking, and kept in memory for /debug/profiles. Off by
// default: zero in `every` and in each `when_*`.
struct KeepProfilesOptions {
  // A CPU profile of `length` at `hz` so often. 10 s at 19 Hz every minute costs a busy thread 0.001 %.
  Duration every{0};
  Duration length = std::chrono::seconds(10);
  int hz = 19;  // no divisor of what timers do in round numbers

  // All stacks, the heap and a CPU profile of `length` when: requests waited longer than this for a
  // slot, on average over the last second; the handlers' 99th percentile of that second is above it
  // (of 100 requests or more); the resident memory has grown by more in a minute; so many handlers
  // were newly reported as stuck. Each is quiet for `cooldown` after it.
  Duration when_queue_wait{0};
  Duration when_p99{0};
  std::uint64_t when_resident_bytes_per_minute = 0;
  std::uint64_t when_stuck_reports = 0;
  Duration cooldown = std::chrono::minutes(5);

  // For all that is kept; the oldest go first.
  std::size_t bytes_max = 16 * 1024 * 1024;
};

struct AgentOptions {
  // Where the debug pages are served: a loopback address. Another one is refused without both
  // DebugReach::kOtherMachines and a token, because the pages show the inside of the process to
  // whoever asks. Port 0 picks one. An empty host: no port, only the Unix socket. To read them from
  // elsewhere: ssh -L, kubectl port-forward.
  HostPort debug_listen{"127.0.0.1", 6060};
  // The path of a Unix socket that serves them too, to this user and root alone: what path is
  // accepted, and what is replaced there, server-core/unix_listener.h. Empty: none.
  std::string debug_unix;
  // What every request that comes to the address must carry, as "Authorization: Bearer TOKEN". 16 to
  // 1024 letters, digits and -._~+/=. Empty: none is asked for.
  std::string debug_token;
  enum class DebugReach : std::uint8_t { kThisMachine, kOtherMachines };
  DebugReach debug_reach = DebugReach::kThisMachine;
  // TLS on the debug listener, so that a token does not cross a network in clear text; nullptr: none.
  std::shared_ptr<http::TlsContext> debug_tls;
  // What to do when the port is taken: give up; take the next free one of the following (a host with
  // several processes); let the kernel choose. The last two are logged as a warning.
  enum class PortTaken : std::uint8_t { kFail, kNextFree, kAnyFree };
  PortTaken debug_port_taken = PortTaken::kFail;

  // Handlers older than this are flagged with their stack. Zero: no watchdog.
  Duration stuck_after = std::chrono::seconds(5);

  // For handlers of these routes instead ("GET /export"); zero: they are never flagged for their age.
  std::map<std::string, Duration, std::less<>> stuck_after_routes = {};

  // More tasks, threads or descriptors at once than this are logged with a dump, once for each
  // crossing. Zero: no limit.
  leakwatch::HighWatermarks high_watermarks = {};

  // What the program wants to be told of the watchdog's findings, on a thread of its own.
  leakwatch::WatchdogCallbacks watchdog_callbacks = {};

  // Mean bytes between heap samples (HeapProfilerOptions::interval_bytes), where the program runs on
  // tcmalloc or links vigil::malloc_interpose. Zero: sampling stays off and the heap pages answer 501.
  std::int64_t heap_sample_bytes = 512 * 1024;

  // Nanoseconds of waiting for each sample of the mutex and block profiles
  // (ContentionOptions::rate), where the program is linked with vigil::contention. Zero: they stay
  // off, and their pages answer 501, until a rate is set.
  Duration contention_rate = std::chrono::milliseconds(1);

  // Whose level /debug/loglevel shows and, with Changes::kAllowed, sets; nullptr: the page answers
  // 501. Must outlive the agent.
  LevelSink* log_level = nullptr;

  // Whether POSTs to the debug pages may change rates and the log's level.
  enum class Changes : std::uint8_t { kRefused, kAllowed };
  Changes changes = Changes::kRefused;

  KeepProfilesOptions keep_profiles;

  // What the cmdline page shows; secrets are redacted from it. Empty: /proc/self/cmdline.
  std::vector<std::string> command_line;
};

// Thread-safe after start().
class Agent {
 public:
  // Starts everything. `tasks`, `sink` and `clock` must outlive the agent.
  //   permission_denied   the debug address is not loopback (and DebugReach, or the token, is not
  //                       set); what stands at the Unix socket's path is not ours
  //   busy                its port is taken, or another agent runs in this process
  //   invalid_argument    a threshold is below the time between the watchdog's passes; no address and
  //                       no Unix socket; a token that is too short
  //   unsupported         what the sampler needs is missing; the sentence says what to install
  //   resource_exhausted  no thread or no memory for it
  static Result<std::unique_ptr<Agent>> start(AgentOptions options, leakwatch::TaskRegistry& tasks,
                                              LogSink& sink, Clock& clock);

  // Stops the listener (captures in progress end early) and the watchdog.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // The debug listener's address with its real port; port 0: it has only a Unix socket.
  const HostPort& debug_endpoint() const;

  // Answers a request to a debug page, for a program that serves them with a server that is not
  // ours: endpoints/debug_exchange.h; agent/adapters has the mounts for cpp-httplib and Boost.Beast.
  // The same guard stands before them. Thread-safe; does not throw.
  DebugResponse debug_page(const DebugRequest& request) const;

  // Shows a server's numbers on the metrics pages, under the label `server`=`name`; with `router`,
  // its routes' too. May be called at any time, with a different name each. The server (and pool)
  // must outlive the agent, the router need not.
  void add_server(std::string name, const http::Server& server, const http::Router& router);
  void add_server(std::string name, const http::Server& server);
  void add_timeout_pool(std::string name, const http::TimeoutPool& pool);

  // `stack` as the dumps print it: two lines a frame. Thread-safe. Reads debug information.
  std::string stack_text(const sampler::Stack& stack) const;

  const leakwatch::Watchdog& watchdog() const;
  leakwatch::StackSource& stacks();

  // From now on reports say that the server is shutting down. Application does this by itself
  // (report_through).
  void server_is_draining();

  // Logs what a shutdown left: one record with the numbers, then one for each handler that goes on,
  // with route, age and live stack.
  void log_shutdown(const http::ShutdownReport& report);

 private:
  struct Parts;
  explicit Agent(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vigil
