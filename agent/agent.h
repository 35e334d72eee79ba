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
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/address.h"
#include "server-core/router.h"
#include "server-core/server.h"
#include "server-core/server_stats.h"
#include "server-core/timeout_pool.h"

namespace vigil {

struct AgentOptions {
  // Where the debug pages are served: a loopback address; another one is refused, because the pages
  // show the inside of the process to whoever asks. Port 0 picks one. To read them from elsewhere:
  // ssh -L, kubectl port-forward.
  HostPort debug_listen{"127.0.0.1", 6060};

  // Handlers older than this are flagged with their stack. Zero: no watchdog.
  Duration stuck_after = std::chrono::seconds(5);

  // For handlers of these routes instead ("GET /export"); zero: they are never flagged for their age.
  std::map<std::string, Duration, std::less<>> stuck_after_routes = {};

  // Mean bytes between heap samples (HeapProfilerOptions::interval_bytes), where the program runs on
  // tcmalloc or links vigil::malloc_interpose. Zero: sampling stays off and the heap pages answer 501.
  std::int64_t heap_sample_bytes = 512 * 1024;

  // Nanoseconds of waiting for each sample of the mutex and block profiles
  // (ContentionOptions::rate), where the program is linked with vigil::contention. Zero: they stay
  // off, and their pages answer 501, until a rate is set.
  Duration contention_rate = std::chrono::milliseconds(1);

  // Whether POSTs to the debug pages may change rates.
  enum class Changes : std::uint8_t { kRefused, kAllowed };
  Changes changes = Changes::kRefused;

  // What the cmdline page shows; secrets are redacted from it. Empty: /proc/self/cmdline.
  std::vector<std::string> command_line;
};

// Thread-safe after start().
class Agent {
 public:
  // Starts everything. `tasks`, `sink` and `clock` must outlive the agent.
  //   permission_denied   the debug address is not loopback
  //   busy                its port is taken, or another agent runs in this process
  //   invalid_argument    a threshold is below the time between the watchdog's passes
  //   unsupported         what the sampler needs is missing; the sentence says what to install
  static Result<std::unique_ptr<Agent>> start(AgentOptions options, leakwatch::TaskRegistry& tasks,
                                              LogSink& sink, Clock& clock);

  // Stops the listener (captures in progress end early) and the watchdog.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // The debug listener's address with its real port.
  const HostPort& debug_endpoint() const;

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

  // Logs what a shutdown left: one record with the numbers, then one for each handler that goes on,
  // with route, age and live stack.
  void log_shutdown(const http::ShutdownReport& report);

 private:
  struct Parts;
  explicit Agent(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vigil
