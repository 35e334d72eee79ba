// vigil-demo: a small server on vigil, with one route for each thing that a profile, a dump or the
// watchdog can show. The tour, the tests and the benchmarks drive it.

#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "agent/agent.h"
#include "agent/application.h"
#include "agent/demo/debug_flags.h"
#include "agent/demo/routes.h"
#include "agent/demo/tls.h"
#include "base/flags.h"
#include "sampler/throw_stack.h"
#include "server-core/recoverer.h"
#include "server-core/request_log.h"
#include "server-core/router.h"
#include "server-core/server.h"
#include "server-core/timeout_pool.h"

namespace {

using vigil::Result;

enum class AccessLog : std::uint8_t { kOff, kOn };

struct Options {
  vigil::http::ServerOptions server;
  vigil::AgentOptions agent;
  vigil::ApplicationOptions application;
  AccessLog access_log = AccessLog::kOff;
  demo::TlsFlags tls;
};

constexpr int kExitFailed = 1;  // the start failed

// "GET /export=1m": the threshold of one route.
vigil::FlagSetter route_threshold_flag(
    std::map<std::string, vigil::Duration, std::less<>>& target) {
  return [&target](std::string_view text) -> Result<void> {
    const std::size_t equals = text.rfind('=');
    if (equals == std::string_view::npos) {
      return vigil::Error(vigil::ErrorCode::kInvalidArgument, "not ROUTE=DURATION");
    }
    const auto threshold = vigil::parse_duration(text.substr(equals + 1));
    if (!threshold) return threshold.error();
    target[std::string(text.substr(0, equals))] = *threshold;
    return {};
  };
}

void leakwatch_flags(vigil::FlagTable& flags, vigil::leakwatch::HighWatermarks& limits) {
  constexpr std::uint64_t kMax = 1'000'000'000;
  flags.add("watermark-tasks", "N", "log more tasks at once than this, with a dump (0: no limit)",
            vigil::size_flag(limits.tasks, 0, kMax));
  flags.add("watermark-threads", "N", "the same for threads (0)",
            vigil::size_flag(limits.threads, 0, kMax));
  flags.add("watermark-descriptors", "N", "the same for open descriptors (0)",
            vigil::size_flag(limits.descriptors, 0, kMax));
}

vigil::FlagTable flag_table(Options& options) {
  using vigil::choice_flag;
  using vigil::duration_flag;
  using vigil::size_flag;
  using vigil::http::LimitPolicy;
  constexpr std::int64_t kCountMax = 1'000'000;
  constexpr std::int64_t kBytesMax = std::int64_t{1} << 40;
  vigil::http::ServerOptions& server = options.server;
  vigil::FlagTable flags("vigil-demo",
                         "Serves routes that show what vigil does; GET / lists them.\n"
                         "SIGTERM or SIGINT end it: status 0 if all requests in flight were "
                         "answered, 1 if --shutdown-timeout cut some. A second signal kills it.");
  flags.add("listen", "A:P", "where to serve (127.0.0.1:8080)", host_port_flag(server.listen));
  demo::add_debug_flags(flags, options.agent);
  flags.add("stuck-after", "DURATION", "flag handlers older than this (5s; 0: never)",
            duration_flag(options.agent.stuck_after));
  flags.add("stuck-after-route", "ROUTE=DURATION",
            "the same for one route, \"GET /sleep=1m\"; may be repeated",
            route_threshold_flag(options.agent.stuck_after_routes));
  leakwatch_flags(flags, options.agent.high_watermarks);
  flags.add("heap-sample", "BYTES", "mean bytes between heap samples (524288; 0: none)",
            size_flag(options.agent.heap_sample_bytes, 0, std::int64_t{1} << 30));
  flags.add(
      "contention-rate", "DURATION",
      "time of waiting that a sample of the mutex and block profiles stands for (1ms; 0: off)",
      duration_flag(options.agent.contention_rate));
  flags.add("read-header-timeout", "DURATION", "for a request's head (10s)",
            duration_flag(server.read_header_timeout));
  flags.add("read-timeout", "DURATION", "for a whole request (30s)",
            duration_flag(server.read_timeout));
  flags.add("write-timeout", "DURATION", "from the head's end to the response's (30s)",
            duration_flag(server.write_timeout));
  flags.add("idle-timeout", "DURATION", "between requests (60s)",
            duration_flag(server.idle_timeout));
  flags.add("shutdown-timeout", "DURATION", "for requests in flight at SIGTERM (10s)",
            duration_flag(options.application.shutdown_timeout));
  flags.add("max-header-bytes", "N", "of a request's head (65536)",
            size_flag(server.max_header_bytes, 256, 1 << 20));
  flags.add("max-body-bytes", "N", "of a request's body (16777216; 0: no limit)",
            size_flag(server.max_body_bytes, 0, kBytesMax));
  flags.add("max-connections", "N", "open at once (0: no limit)",
            size_flag(server.max_connections, 0, kCountMax));
  flags.add("connection-policy", "POLICY",
            "at that limit: reject (503) or pause, which leaves newcomers in the backlog (reject)",
            choice_flag(server.connection_policy, {"reject", LimitPolicy::kReject},
                        {"pause", LimitPolicy::kPause}));
  flags.add("max-connections-per-ip", "N", "of one address (0: no limit)",
            size_flag(server.max_connections_per_ip, 0, kCountMax));
  flags.add("max-in-flight", "N", "requests in handlers (0: no limit)",
            size_flag(server.max_in_flight, 0, kCountMax));
  flags.add("access-log", "on|off", "a record for each request, on stderr (off)",
            choice_flag(options.access_log, {"on", AccessLog::kOn}, {"off", AccessLog::kOff}));
  flags.add("max-queue", "N", "requests that wait for a slot of --max-in-flight (0: none)",
            size_flag(server.max_queue, 0, kCountMax));
  flags.add("queue-timeout", "DURATION", "for such a wait, then 503 (1s)",
            duration_flag(server.queue_timeout));
  flags.add("max-requests-per-connection", "N", "then it is closed (0: no limit)",
            size_flag(server.max_requests_per_connection, 0, kCountMax));
  flags.add_switch("h2c", "HTTP/2 without TLS, for clients that begin with it",
                   server.http2_cleartext, true);
  flags.add_switch("h2-only", "refuse HTTP/1.1: without TLS as --h2c, with it HTTP/2 alone by ALPN",
                   server.http1, vigil::http::Http1::kRefused);
  flags.add("http2-max-streams", "N", "open at once on one HTTP/2 connection (250)",
            size_flag(server.http2_max_streams, 1, 1000));
  flags.add("pollers", "N", "threads that poll connections, at most (0: one a core)",
            size_flag(server.pollers, 0, 64));
  options.tls.add_to(flags);
  return flags;
}

int fail(const vigil::Error& error) {
  fmt::print(stderr, "vigil-demo: {}\n", error.message());
  return kExitFailed;
}

// What is around all routes. `agent` is set before the first request.
std::vector<vigil::http::Middleware> middleware(const Options& options, vigil::LogSink& sink,
                                                vigil::Clock& clock, vigil::Agent* const& agent) {
  std::vector<vigil::http::Middleware> around;
  if (options.access_log == AccessLog::kOn) {
    around.push_back(vigil::http::with_request_id(sink));
    around.push_back(vigil::http::access_log(sink, clock));
  }
  around.push_back(vigil::http::recoverer(
      {.sink = &sink, .stack_of_throw = [&agent](const std::exception_ptr& exception) {
         return agent->stack_text(vigil::sampler::throw_stack_of(exception));
       }}));
  return around;
}

// Serves until a signal asks for the end. The exit status is agent/application.h's.
int serve(Options& options) {
  vigil::SystemClock clock;
  vigil::JsonLineSink lines(STDERR_FILENO, vigil::LogLevel::kDebug);
  vigil::LevelSink sink(lines, clock, vigil::LogLevel::kInfo);
  options.agent.log_level = &sink;
  auto application = vigil::Application::create(options.application, sink, clock);
  if (!application) return fail(application.error());
  if (options.server.http1 == vigil::http::Http1::kRefused) {
    options.server.http2_cleartext = true;
    options.tls.alpn = {"h2"};
  }
  auto tls = options.tls.load(clock);
  if (!tls) return fail(tls.error());
  if (*tls != nullptr) {
    options.server.tls = *tls;
    (*application)->on_hangup([context = *tls, log = vigil::Logger(sink, "demo")] {
      demo::reload(*context, log);
    });
  }
  vigil::leakwatch::TaskRegistry tasks(clock);

  vigil::http::TimeoutPool timed(tasks, sink, clock);
  vigil::http::Router router(tasks);
  if (Result<void> added = demo::add_routes(router, timed); !added) return fail(added.error());
  vigil::Agent* agent_of_stacks = nullptr;
  auto server = vigil::http::Server::create(
      options.server, vigil::http::chain(router, middleware(options, sink, clock, agent_of_stacks)),
      tasks, sink, clock);
  if (!server) return fail(server.error());
  auto agent = vigil::Agent::start(options.agent, tasks, sink, clock);
  if (!agent) return fail(agent.error());
  agent_of_stacks = agent->get();
  (*agent)->add_server("main", **server, router);
  (*agent)->add_timeout_pool("main", timed);
  if (Result<void> started = (*server)->start(); !started) return fail(started.error());
  demo::announce(vigil::format_host_port((*server)->endpoint()));
  demo::announce_debug_pages(**agent, options.agent);

  (*application)->add_server(**server);
  (*application)->add_timeout_pool(timed);
  (*application)->report_through(**agent);
  const Result<int> status = (*application)->run();
  return status ? *status : fail(status.error());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.server.listen = {"127.0.0.1", 8080};
  if (const auto status = flag_table(options).parse(argc, argv)) return *status;
  return serve(options);
}
