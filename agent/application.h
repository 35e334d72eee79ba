// Application: the end of a serving process, in the right order.
//
//   int main() {
//     SystemClock clock;
//     JsonLineSink sink;
//     auto application = Application::create({.shutdown_timeout = 10s}, sink, clock);  // first
//     …                                                     // Pool pool; Mailer mailer(pool); server, agent
//     (*application)->report_through(*agent);
//     (*application)->add_server(*server);
//     (*application)->add_worker("mailer", [&](MonotonicTime deadline) { mailer.stop(deadline); });
//     (*application)->add_store("orders", [&](MonotonicTime deadline) { pool.close(deadline); });
//     auto status = (*application)->run();
//     return status ? *status : fail(status.error());
//   }
//
//   running ── SIGTERM, SIGINT, stop() ──▶ servers ──▶ workers ──▶ stores ──▶ run() returns 0
//                                            │           │           │
//                                            └───────────┴───────────┴─ deadline ─▶ exit status 1
//                     (a second signal, any time after the first: the process dies of it at once)
//
// Servers first, all at the same time, so that nothing new comes in; what runs in their handlers
// can still use the workers and the stores. Workers and stores end one after the other, the last
// added first. All of it shares one deadline.
//
// Nothing is torn down under a handler that still runs: where the deadline passes, the workers and
// stores that are left are not touched, and the process ends with _exit(2).
//
// Exit statuses: 0, everything has ended in time; 1 (kExitForced), it has not, or a step has
// failed; death by the signal itself (a shell shows 128 + its number), a second one came.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "server-core/server.h"
#include "server-core/timeout_pool.h"

namespace vigil {

class Agent;

struct ApplicationOptions {
  // From the first signal until everything must have ended. An orchestrator's own limit
  // (terminationGracePeriodSeconds, TimeoutStopSec) should be some 3 s longer, or it kills the
  // process before this can say what was still running.
  Duration shutdown_timeout = std::chrono::seconds(10);
};

// stop() from any thread, everything else from the one that created it.
class Application {
 public:
  static constexpr int kExitForced = 1;

  // Ends one worker or store: returns when it has ended, or at `deadline`. Called once, on a thread
  // of the application's. An exception is logged and makes the exit status 1; the steps behind it
  // still run.
  using Step = std::function<void(MonotonicTime deadline)>;

  // Blocks SIGTERM and SIGINT in the calling thread, and so in every thread that is started from
  // now on: call it before there is another one, in main(). A signal that comes before run() waits
  // for it. `sink` and `clock` must outlive the application.
  //   resource_exhausted   no descriptors
  static Result<std::unique_ptr<Application>> create(ApplicationOptions options, LogSink& sink,
                                                     Clock& clock);
  // Gives the calling thread its signal mask back.
  ~Application();
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  // Before run(). What is added must live until run() has returned.
  void add_server(http::Server& server);
  // Handlers of `pool` that go on past their timeout are waited for like requests in flight, and reported like them.
  void add_timeout_pool(http::TimeoutPool& pool);
  void add_worker(std::string name, Step stop);
  void add_store(std::string name, Step close);
  // SIGHUP runs `action`, on the thread that is in run(), instead of ending the process: for reading
  // configuration and certificates again. Not any more once the end has begun. Blocks SIGHUP in the
  // calling thread: like create(), before there is another one. An exception is logged.
  void on_hangup(std::function<void()> action);
  // Has `agent` log what the servers' shutdowns left, with the live stacks of handlers that go on.
  // Without one the log has the numbers only. Its debug pages stay up to the end.
  void report_through(Agent& agent);

  // Starts the servers that are not started yet, waits for a signal or stop(), and ends everything.
  // Returns 0, or kExitForced if a step has failed. Where the deadline passes, or a second signal
  // comes, it does not return: the process ends (stdio is flushed, destructors do not run). The
  // errors of Server::start(); then the servers started before are closed.
  Result<int> run();

  // As if SIGTERM had come. A second call does nothing.
  void stop();

 private:
  struct Parts;
  explicit Application(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vigil
