// Micro-benchmarks of server-core's pure parts: what a kept-alive request passes through.

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fake_clock.h"
#include "leakwatch/task_registry.h"
#include "server-core/headers.h"
#include "server-core/request_parser.h"
#include "server-core/router.h"
#include "server-core/timer_wheel.h"
#include "server-core/url.h"
#include "tests/server-core/fake_exchange.h"

namespace vigil::http {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kSmallHead = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

// What a browser sends.
constexpr std::string_view kBrowserHead =
    "GET /orders/4711?page=2&sort=date HTTP/1.1\r\n"
    "Host: shop.example:8443\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/118.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\n\r\n";

void parse_head(benchmark::State& state, std::string_view head) {
  RequestParser parser({});
  for (auto _ : state) {
    HeadScanner scanner;
    if (parser.parse(head, scanner) != RequestParser::Status::kComplete) {
      state.SkipWithError("not understood");
      break;
    }
    benchmark::DoNotOptimize(parser.head_bytes());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(head.size()) * state.iterations());
}
BENCHMARK_CAPTURE(parse_head, small, kSmallHead);
BENCHMARK_CAPTURE(parse_head, browser, kBrowserHead);

// Routes of an API: a tenth with a wildcard. The task of each activation is part of it.
void route(benchmark::State& state) {
  SystemClock clock;
  leakwatch::TaskRegistry registry(clock);
  Router router(registry);
  const std::int64_t routes = state.range(0);
  for (std::int64_t i = 0; i < routes; ++i) {
    const std::string name = "/v1/service" + std::to_string(i);
    const std::string pattern = "GET " + name + (i % 10 == 0 ? "/{id}/items" : "/items/list");
    if (!router.handle(pattern, [](ResponseWriter&, Request&) {})) state.SkipWithError("pattern");
  }
  std::vector<std::unique_ptr<test::FakeExchange>> asked;
  for (std::int64_t i = 0; i < 64; ++i) {
    const std::int64_t which = i * 7919 % routes;
    const std::string target =
        "/v1/service" + std::to_string(which) + (which % 10 == 0 ? "/4711/items" : "/items/list");
    asked.push_back(std::make_unique<test::FakeExchange>(clock.now(), target));
  }
  std::size_t next = 0;
  for (auto _ : state) {
    test::FakeExchange& exchange = *asked[next++ % asked.size()];
    router(exchange.response, exchange.request);
  }
  for (const auto& exchange : asked) {
    if (exchange->response.status_code() != 200) state.SkipWithError("not found");
  }
}
BENCHMARK(route)->RangeMultiplier(10)->Range(1, 10'000);

void header_map(benchmark::State& state) {
  HeaderMap headers;
  for (auto _ : state) {
    headers.clear();
    headers.set("Content-Type", "text/plain; charset=utf-8");
    headers.set("Cache-Control", "no-store");
    headers.add("Set-Cookie", "session=8f14e45fceea167a");
    headers.set("X-Request-Id", "8f14e45fceea167a5a36dedd4bea2543");
    benchmark::DoNotOptimize(headers.get("content-length"));
  }
}
BENCHMARK(header_map);

// A connection's look is moved on, in a wheel that holds `range` others.
void timer_wheel_arm(benchmark::State& state) {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  std::vector<TimerWheel::Node> others(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < others.size(); ++i) {
    wheel.arm(others[i], clock.now() + std::chrono::milliseconds(i * 7919 % 30'000));
  }
  TimerWheel::Node node;
  for (auto _ : state) {
    wheel.arm(node, clock.now() + 5s);
    wheel.disarm(node);
  }
  for (TimerWheel::Node& other : others) wheel.disarm(other);
}
BENCHMARK(timer_wheel_arm)->RangeMultiplier(10)->Range(1, 100'000);

// One that comes up and is armed again, among `range`.
void timer_wheel_turn(benchmark::State& state) {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  std::vector<TimerWheel::Node> nodes(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    wheel.arm(nodes[i], clock.now() + std::chrono::milliseconds(i * 7919 % 30'000));
  }
  for (auto _ : state) {
    TimerWheel::Node* due = wheel.pop_due(clock.now());
    while (due == nullptr) {
      clock.advance(std::max<Duration>(wheel.next_look() - clock.now(), 1ns));
      due = wheel.pop_due(clock.now());
    }
    wheel.arm(*due, clock.now() + 30s);
  }
  for (TimerWheel::Node& node : nodes) wheel.disarm(node);
}
BENCHMARK(timer_wheel_turn)->RangeMultiplier(10)->Range(1, 100'000);

void url_decode(benchmark::State& state, std::string_view text) {
  std::string out;
  for (auto _ : state) {
    out.clear();
    benchmark::DoNotOptimize(append_percent_decoded(out, text));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}
BENCHMARK_CAPTURE(url_decode, plain, "/orders/2026/november/4711/items/overview");
BENCHMARK_CAPTURE(url_decode, escaped, "/orders/caf%C3%A9%20au%20lait/%E2%82%AC%2050/items");

void url_split(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(split_target("/orders/4711/items?page=2&sort=date"));
    benchmark::DoNotOptimize(is_clean_path("/orders/4711/items"));
  }
}
BENCHMARK(url_split);

void query_parse(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(QueryParams::parse("page=2&sort=date&name=caf%C3%A9+au+lait&debug=1"));
  }
}
BENCHMARK(query_parse);

}  // namespace
}  // namespace vigil::http
