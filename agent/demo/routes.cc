#include "agent/demo/routes.h"

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include <fmt/core.h>

#include "agent/demo/parameters.h"
#include "agent/demo/protocol.h"
#include "agent/demo/work.h"
#include "agent/leakcheck/leave_behind.h"
#include "base/text.h"
#include "sampler/labels.h"
#include "server-core/handler_timeout.h"
#include "server-core/request_log.h"
#include "server-core/websocket.h"

namespace demo {
namespace {

using namespace std::chrono_literals;
using vigil::Result;
using vigil::http::Request;
using vigil::http::RequestLog;
using vigil::http::ResponseWriter;

// What the handlers share.
struct State {
  Memory memory;
  Gate gate;
  std::mutex inventory;
  std::mutex a;
  std::mutex b;
};

using Route = void (*)(State&, ResponseWriter&, Request&);

enum class Timeout : std::uint8_t { kOff, kOn };

struct RouteEntry {
  std::string_view pattern;
  Route handle;
  std::string_view parameters;
  std::string_view description;
  Timeout timeout = Timeout::kOff;
};

std::span<const RouteEntry> routes();

void answer(ResponseWriter& response, std::string_view text) {
  response.headers().set("Content-Type", "text/plain; charset=utf-8");
  (void)response.write(text);
}

void index(State&, ResponseWriter& response, Request&) {
  std::string rows;
  for (const RouteEntry& route : routes()) {
    // "/{$}" is how a pattern says "/ and nothing below it".
    const std::string_view shown = route.pattern == "GET /{$}" ? "GET /" : route.pattern;
    fmt::format_to(std::back_inserter(rows), "<tr><td><code>{}{}</code></td><td>{}</td></tr>\n",
                   vigil::html_escaped(shown), vigil::html_escaped(route.parameters),
                   vigil::html_escaped(route.description));
  }
  response.headers().set("Content-Type", "text/html; charset=utf-8");
  (void)response.write(fmt::format(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>vigil-demo</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
td {{ padding: 0 1.5rem 0 0; vertical-align: top }} code {{ white-space: nowrap }}
</style>
</head>
<body>
<h1>vigil-demo</h1>
<p>Each route does one thing that a profile, a dump or the watchdog can show.</p>
<table>
{}</table>
</body>
</html>
)",
                                   rows));
}

void hello(State&, ResponseWriter& response, Request&) { answer(response, "hello, world\n"); }

void work(State&, ResponseWriter& response, Request& request) {
  const auto duration = milliseconds_of(response, request, 10);
  if (!duration) return;
  const vigil::LabelScope labels({{"tenant", request.query("tenant").value_or("none")}});
  answer(response, fmt::format("burned {} ms: {:x}\n", duration->count(), burn(*duration)));
}

void allocate(State& state, ResponseWriter& response, Request& request) {
  const auto kib = number_of(response, request, "kb", 1024, 16 * 1024 * 1024);
  if (!kib) return;
  const std::size_t kept = remember(state.memory, static_cast<std::size_t>(*kib) * 1024);
  answer(response, fmt::format("keeping {} KiB\n", kept / 1024));
}

void free_all(State& state, ResponseWriter& response, Request&) {
  answer(response, fmt::format("freed {} KiB\n", forget(state.memory) / 1024));
}

void churn_route(State&, ResponseWriter& response, Request& request) {
  const auto count = number_of(response, request, "n", 1000, 1'000'000'000);
  if (!count) return;
  churn(static_cast<std::size_t>(*count));
  answer(response, fmt::format("{} allocations\n", *count));
}

void sleep_route(State&, ResponseWriter& response, Request& request) {
  const auto duration = milliseconds_of(response, request, 100);
  if (!duration) return;
  if (!wait_upstream(*duration)) {
    vigil::http::write_error(response, 500, "the sleep was interrupted");
    return;
  }
  answer(response, fmt::format("slept {} ms\n", duration->count()));
}

void stuck(State& state, ResponseWriter& response, Request&) {
  wait_forever(state.gate);
  answer(response, "released\n");
}

void release(State& state, ResponseWriter& response, Request&) {
  answer(response, fmt::format("released {}\n", release_all(state.gate)));
}

void lock_route(State& state, ResponseWriter& response, Request& request) {
  const auto duration = milliseconds_of(response, request, 10);
  if (!duration) return;
  update_inventory(state.inventory, *duration);
  answer(response, fmt::format("held the lock for {} ms\n", duration->count()));
}

void deadlock_ab(State& state, ResponseWriter& response, Request&) {
  lock_both(state.a, state.b);
  answer(response, "no deadlock this time\n");
}

void deadlock_ba(State& state, ResponseWriter& response, Request&) {
  lock_both(state.b, state.a);
  answer(response, "no deadlock this time\n");
}

void echo(State&, ResponseWriter& response, Request& request) {
  if (const auto type = request.header("Content-Type")) {
    response.headers().set("Content-Type", *type);
  }
  std::array<char, 16 * 1024> buffer;
  for (;;) {
    const Result<std::size_t> got = request.read(buffer);
    if (!got) {
      if (!response.head_sent()) {
        vigil::http::write_error(response, vigil::http::body_error_status(got.error()),
                                 got.error().message());
      }
      return;
    }
    if (*got == 0) return;
    if (!response.write(std::string_view(buffer.data(), *got))) return;
  }
}

void noread(State&, ResponseWriter& response, Request&) { answer(response, "not read\n"); }

void big(State&, ResponseWriter& response, Request& request) {
  auto left = number_of(response, request, "n", 1 << 20, std::int64_t{1} << 40);
  if (!left) return;
  response.headers().set("Content-Type", "application/octet-stream");
  static const std::string block(64 * 1024, 'x');
  while (*left > 0) {
    const auto size = static_cast<std::size_t>(std::min<std::int64_t>(*left, block.size()));
    if (!response.write(std::string_view(block).substr(0, size))) return;
    *left -= static_cast<std::int64_t>(size);
  }
}

// Sleeps until `deadline`, or until the token is stopped; true if it was.
bool stopped_before(vigil::MonotonicTime deadline, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_until(lock, stop, deadline, [] { return false; });
  return stop.stop_requested();
}

void stream(State&, ResponseWriter& response, Request& request) {
  const auto count = number_of(response, request, "n", 10, 1'000'000);
  const auto pause = count ? milliseconds_of(response, request, 100) : std::nullopt;
  if (!pause) return;
  response.headers().set("Content-Type", "text/event-stream");
  response.headers().set("Cache-Control", "no-store");
  // A stream lives as long as its client: each event gets the time that a whole response would
  // have.
  const bool limited = request.deadline() != vigil::kNoDeadline;
  const auto write_time = limited ? request.deadline() - request.start_time() : vigil::Duration();
  for (std::int64_t i = 1; i <= *count; ++i) {
    const auto now = std::chrono::steady_clock::now();
    if (limited) response.set_write_deadline(now + *pause + write_time);
    if (!response.write(fmt::format("data: {}\n\n", i)) || !response.flush()) return;
    if (i < *count && stopped_before(now + *pause, request.stop_token())) return;
  }
}

void throw_route(State&, ResponseWriter&, Request&) {
  throw std::runtime_error("the demo throws when it is asked to");
}

// What /slow and /leak get.
constexpr vigil::Duration kHandlerTimeout = 1s;

void slow(State&, ResponseWriter& response, Request& request) {
  const auto duration = milliseconds_of(response, request, 500);
  if (!duration) return;
  if (stopped_before(request.start_time() + *duration, request.stop_token())) {
    RequestLog(request, "demo").info("stopped in time");
    return;
  }
  answer(response, fmt::format("slept {} ms\n", duration->count()));
}

void leak(State&, ResponseWriter& response, Request& request) {
  const auto duration = milliseconds_of(response, request, 3000);
  if (!duration) return;
  (void)wait_upstream(*duration);
  answer(response, "not read by anybody if it comes late\n");
}

// A handler that shares nothing.
template <void (*kHandle)(ResponseWriter&, Request&)>
void stateless(State&, ResponseWriter& response, Request& request) {
  kHandle(response, request);
}

void echo_messages(State&, ResponseWriter& response, Request& request) {
  auto socket = vigil::http::upgrade_websocket(response, request, {.ping_interval = 20s});
  if (!socket) return;
  while (const auto message = socket->read_message()) {
    if (!socket->send(message->kind, message->data)) return;
  }
}

void echo_page(State&, ResponseWriter& response, Request&) {
  response.headers().set("Content-Type", "text/html; charset=utf-8");
  (void)response.write(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>vigil-demo: WebSocket</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
</style>
</head>
<body>
<h1>WebSocket</h1>
<p id="state">connecting</p>
<form id="form"><input id="text" value="hello" aria-label="message"> <button>Send</button></form>
<ol id="echoes"></ol>
<script>
const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
const by = (id) => document.getElementById(id);
const show = (text) => { by("state").textContent = text; };
socket.onopen = () => { show("open"); socket.send("hello, socket"); };
socket.onmessage = (event) => {
  by("echoes").appendChild(document.createElement("li")).textContent = event.data;
};
socket.onclose = (event) => show("closed: " + event.code + " " + event.reason);
by("form").onsubmit = (event) => { event.preventDefault(); socket.send(by("text").value); };
</script>
</body>
</html>
)");
}

void leave(State&, ResponseWriter& response, Request& request) {
  const std::string_view kind = request.path_value("kind").value_or("");
  const Result<void> left = vigil::leakcheck::leave_behind(kind);
  if (left) return answer(response, fmt::format("left a {} behind\n", kind));
  const bool unknown = left.error().code() == vigil::ErrorCode::kNotFound;
  vigil::http::write_error(response, unknown ? 404 : 503, left.error().message());
}

constexpr RouteEntry kRoutes[] = {
    {"GET /{$}", index, "", "this table"},
    {"GET /hello", hello, "", "hello, world"},
    {"GET /work", work, "?ms=N",
     "burns N ms of CPU: 75 % in demo::checksum, 25 % in demo::compress"},
    {"GET /alloc", allocate, "?kb=N", "keeps N KiB from demo::remember"},
    {"DELETE /alloc", free_all, "", "frees all of it"},
    {"GET /churn", churn_route, "?n=N", "N allocations, each freed again, in demo::churn"},
    {"GET /sleep", sleep_route, "?ms=N",
     "one plain nanosleep in demo::wait_upstream; answers 500 if it was interrupted"},
    {"GET /stuck", stuck, "", "waits on a condition variable in demo::wait_forever"},
    {"POST /release", release, "", "lets all of them go"},
    {"GET /lock", lock_route, "?ms=N", "holds one shared mutex for N ms in demo::update_inventory"},
    {"GET /deadlock/ab", deadlock_ab, "",
     "takes two mutexes with a pause between; ask for the other one meanwhile, and both wait for "
     "ever, for the end of the demo"},
    {"GET /deadlock/ba", deadlock_ba, "", "the same in the opposite order"},
    {"GET /echo", echo, "", "the body back, streamed; an empty 200 without one"},
    {"POST /echo", echo, "", "the same"},
    {"PUT /echo", echo, "", "the same"},
    {"POST /noread", noread, "", "200 without reading the body"},
    {"GET /big", big, "?n=BYTES", "that many bytes, streamed"},
    {"GET /stream", stream, "?n=N&ms=M", "N server-sent events, M ms apart"},
    {"GET /ws", echo_messages, "", "a WebSocket: each message back"},
    {"GET /ws.html", echo_page, "", "a page that opens it"},
    {"GET /throw", throw_route, "", "throws std::runtime_error"},
    {"GET /slow", slow, "?ms=N", "sleeps, observing its stop token, under a 1 s handler timeout",
     Timeout::kOn},
    {"GET /leak", leak, "?ms=N", "the same without looking at its token: leaks past its timeout",
     Timeout::kOn},
    {"GET /raw", stateless<line_tunnel>, "",
     "with \"Upgrade: line-echo\" a tunnel on the hijacked connection that repeats lines"},
    {"GET /hints", stateless<early_hints>, "?ms=N", "103 Early Hints, and the answer N ms later"},
    {"GET /trailers", stateless<trailers>, "?n=N", "N lines, their checksum in the trailer"},
    {"POST /form", stateless<form>, "", "the fields of a form, decoded"},
    {"GET /leave/{kind}", leave, "",
     "leaves a thread, descriptor, socket, timer, process or (heap) 1 MiB behind, for good"},
};

std::span<const RouteEntry> routes() { return kRoutes; }

}  // namespace

Result<void> add_routes(vigil::http::Router& router, vigil::http::TimeoutPool& timed) {
  const auto state = std::make_shared<State>();
  const vigil::http::Middleware timeout = vigil::http::handler_timeout(timed, kHandlerTimeout);
  for (const RouteEntry& route : kRoutes) {
    vigil::http::Handler handler = [state, handle = route.handle](ResponseWriter& response,
                                                                  Request& request) {
      handle(*state, response, request);
    };
    if (route.timeout == Timeout::kOn) handler = timeout(std::move(handler));
    const Result<void> added = router.handle(route.pattern, std::move(handler));
    if (!added) return added;
  }
  return {};
}

}  // namespace demo
