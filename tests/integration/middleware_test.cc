// The demo's middleware: handler timeouts, the access log, the stack of a throw.

#include <csignal>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

// The first record on stderr that contains `text`; null if there is none within 10 s.
json log_record(Demo& demo, const std::string& text) {
  if (!demo.process().wait_for_err(text)) return {};
  std::istringstream lines(demo.process().err());
  for (std::string line; std::getline(lines, line);) {
    if (line.find(text) != std::string::npos) return json::parse(line);
  }
  return {};
}

TEST_CASE("P2.9 a handler over its timeout: 503 after 1 s, and its token is observed") {
  Demo demo({"--access-log=on"});
  const auto begin = SteadyClock::now();
  const HttpAnswer answer = demo.get("/slow?ms=5000");
  const auto took = SteadyClock::now() - begin;
  CHECK(answer.status == 503);
  CHECK(took >= 1s);
  CHECK(took < 2s);
  const json stopped = log_record(demo, "stopped in time");
  REQUIRE(stopped.is_object());
  CHECK(stopped["route"] == "GET /slow");
  CHECK(stopped["request_id"] == answer.header("X-Request-Id"));
  CHECK(log_record(demo, "handler timed out")["timeout_ms"] == 1000);
  CHECK(demo.get("/slow?ms=10").body == "slept 10 ms\n");
}

TEST_CASE("a handler that ignores its timeout is flagged as leaked while it is young") {
  Demo demo({"--stuck-after=60s"});
  const HttpAnswer answer = demo.get("/leak?ms=4000");
  const std::string text =
      demo.debug_get_until("/debug/leakwatch", "leaked past its timeout of 1s");
  const json report = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  const std::string metrics = demo.debug_get("/metrics").body;
  const json logged = log_record(demo, "handler leaked past its timeout");
  CHECK(answer.status == 503);
  CHECK(text.find("GET /leak, leaked past its timeout of 1s, stuck, age") != std::string::npos);
  CHECK(text.find("demo::wait_upstream") != std::string::npos);
  REQUIRE(report["reports"].size() == 1);
  CHECK(report["reports"][0]["leaked_past_its_timeout"] == true);
  CHECK(report["reports"][0]["task"]["timeout_ms"] == 1000);
  CHECK(report["leaked"] == 1);
  CHECK(metrics.find("vigil_handler_timeout_leaked{pool=\"main\"} 1\n") != std::string::npos);
  CHECK(metrics.find("vigil_watchdog_leaked_total 1\n") != std::string::npos);
  REQUIRE(logged.is_object());
  CHECK(logged["timeout_ms"] == 1000);
  const std::string end = demo.debug_get_until("/debug/leakwatch", "recovered, age");
  CHECK(end.find("GET /leak, leaked past its timeout of 1s, recovered") != std::string::npos);
}

TEST_CASE("a leaked handler is reported at shutdown") {
  Demo demo({"--shutdown-timeout=1s"});
  CHECK(demo.get("/leak?ms=60000").status == 503);
  demo.process().kill(SIGTERM);
  const Finished finished = demo.process().wait();
  CHECK(finished.exit_status == 1);
  CHECK(finished.err.find("handler still running at shutdown") != std::string::npos);
  CHECK(finished.err.find("\"label\":\"GET /leak\"") != std::string::npos);
}

TEST_CASE("the access log has a record for each request, and the id that the client got") {
  Demo demo({"--access-log=on"});
  HttpCall call;
  call.path = "/hello?secret=4711";
  call.headers.emplace("X-Request-Id", "from-the-proxy-1");
  const HttpAnswer answer = http_call(demo.address(), call);
  CHECK(answer.header("X-Request-Id") == "from-the-proxy-1");
  const json record = log_record(demo, "\"source\":\"access\"");
  REQUIRE(record.is_object());
  CHECK(record["path"] == "/hello");
  CHECK(record["route"] == "GET /hello");
  CHECK(record["status"] == 200);
  CHECK(record["bytes"] == answer.body.size());
  CHECK(record["request_id"] == "from-the-proxy-1");
  CHECK(demo.process().err().find("4711") == std::string::npos);
}

TEST_CASE("an exception is logged with the stack of its throw") {
  Demo demo;
  CHECK(demo.get("/throw").body == "Internal Server Error\n");
  const json record = log_record(demo, "\"source\":\"recoverer\"");
  REQUIRE(record.is_object());
  CHECK(record["exception"] == "std::runtime_error");
  CHECK(record["route"] == "GET /throw");
  const std::string stack = record["stack"];
  CHECK(stack.find("throw_route") != std::string::npos);
  CHECK(stack.find("throw_route") < stack.find("Router::operator()"));
}

}  // namespace
}  // namespace vigil::test
