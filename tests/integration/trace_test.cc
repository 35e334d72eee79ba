// /debug/pprof/trace of the demo: what a client that opens it in Perfetto gets.

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/subprocess.h"
#include "tests/support/trace_rules.h"

namespace vigil::test {
namespace {

using nlohmann::json;

json parsed(const HttpAnswer& answer) {
  INFO(answer.body.substr(0, 300));
  REQUIRE(answer.status == 200);
  const json trace = json::parse(answer.body);
  CHECK(trace_violations(trace) == std::vector<std::string>{});
  return trace;
}

// A trace of `seconds`, while `work` is done from its beginning on.
template <typename Work>
json trace_during(Demo& demo, const std::string& seconds, Work&& work) {
  HttpAnswer answer;
  std::thread client([&] { answer = demo.debug_get("/debug/pprof/trace?seconds=" + seconds); });
  // It records once its own request is in a handler.
  demo.debug_get_until("/metrics", "vigil_captures_running 1");
  work();
  client.join();
  return parsed(answer);
}

struct Request {
  json outer;
  std::vector<std::string> phases;
  std::vector<double> begins;
};

// Of the requests with that name, by id.
std::map<std::string, Request> requests_named(const json& trace, const std::string& name) {
  std::map<std::string, Request> found;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "b" || event["cat"] != "request") continue;
    if (event["name"] == name) {
      found[event["id"]].outer = event;
    } else if (const auto at = found.find(event["id"]); at != found.end()) {
      at->second.phases.push_back(event["name"]);
      at->second.begins.push_back(event["ts"]);
    }
  }
  return found;
}

// The complete events with that name.
std::vector<json> slices_named(const json& trace, const std::string& name) {
  std::vector<json> found;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "X" && event["name"] == name) found.push_back(event);
  }
  return found;
}

using Names = std::vector<std::string>;

TEST_CASE(
    "each request of a known set is in a trace, with its phases in order, its task and its "
    "accept") {
  Demo demo;
  // Longer than a recording takes to begin: a request is told at its end.
  const json trace = trace_during(demo, "1.5", [&] {
    for (int i = 0; i < 5; ++i) CHECK(demo.get("/sleep?ms=100").status == 200);
  });
  const auto requests = requests_named(trace, "GET /sleep");
  REQUIRE(requests.size() == 5);
  std::set<json> connections;
  for (const auto& [id, request] : requests) {
    CHECK(request.phases == Names{"accept", "head", "handler", "write"});
    CHECK(std::is_sorted(request.begins.begin(), request.begins.end()));
    CHECK(request.outer["args"]["status"] == 200);
    CHECK(request.outer["args"]["total_ms"] >= 100);
    connections.insert(request.outer["args"]["connection"]);
  }
  CHECK(connections.size() == 5);
  const std::vector<json> tasks = slices_named(trace, "GET /sleep");
  REQUIRE(tasks.size() == 5);
  for (const json& task : tasks) CHECK(task["dur"] >= 100'000);
  CHECK(slices_named(trace, "sleeping").size() > 5);
  std::size_t arrows = 0;
  for (const json& event : trace["traceEvents"]) arrows += event["ph"] == "f" ? 1 : 0;
  CHECK(arrows >= 4);  // the first may have been accepted before
}

TEST_CASE("a trace of a server under load loses nothing and keeps the rules") {
  Demo demo;
  std::atomic<int> answered{0};
  const json trace = trace_during(demo, "1", [&] {
    std::vector<std::thread> clients;
    for (int c = 0; c < 4; ++c) {
      clients.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          if (demo.get("/churn?n=10").status == 200) answered.fetch_add(1);
        }
      });
    }
    for (std::thread& client : clients) client.join();
  });
  CHECK(answered == 200);
  CHECK(trace["otherData"]["events_overwritten"] == 0);
  CHECK(trace["otherData"]["events_dropped"] == 0);
  const auto requests = requests_named(trace, "GET /churn");
  CHECK(requests.size() > 20);
  std::size_t wrong = 0;
  for (const auto& [id, request] : requests) {
    if (request.phases != Names{"accept", "head", "handler", "write"}) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE(
    "a handler that is stuck is in the trace as long as it is, and says that it has not ended") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 1);
  demo.debug_get_until("/debug/tasks", "tasks: 1 live");
  const json trace = parsed(demo.debug_get("/debug/pprof/trace?seconds=0.25"));
  demo.post("/release");
  stuck.join();
  const std::vector<json> tasks = slices_named(trace, "GET /stuck");
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0]["ts"] == 0.0);
  CHECK(tasks[0]["dur"] >= 250'000);
  CHECK(tasks[0]["args"].contains("unfinished"));
}

TEST_CASE("a request that waits for a slot has the wait in its trace") {
  Demo demo({"--max-in-flight=1", "--max-queue=4", "--queue-timeout=5s"});
  const json trace = trace_during(demo, "1.5", [&] {
    Background both(demo.address(), "/sleep?ms=200", 2);
    for (const HttpAnswer& answer : both.join()) CHECK(answer.status == 200);
  });
  std::vector<Names> phases;
  for (const auto& [id, request] : requests_named(trace, "GET /sleep")) {
    phases.push_back(request.phases);
  }
  std::sort(phases.begin(), phases.end());
  CHECK(phases == std::vector<Names>{{"accept", "head", "handler", "write"},
                                     {"accept", "head", "queue", "handler", "write"}});
}

TEST_CASE("requests of HTTP/2 are in a trace, each stream with its phases") {
  Demo demo({"--h2c"});
  const json trace = trace_during(demo, "1.5", [&] {
    const Finished load = run({"h2load", "-n6", "-c2", "-m3",
                               "http://" + format_host_port(demo.address()) + "/sleep?ms=100"});
    CHECK(load.out.find("6 succeeded") != std::string::npos);
  });
  const auto requests = requests_named(trace, "GET /sleep");
  REQUIRE(requests.size() == 6);
  std::set<json> connections;
  for (const auto& [id, request] : requests) {
    CHECK(request.phases == Names{"head", "handler", "write"});
    CHECK(std::is_sorted(request.begins.begin(), request.begins.end()));
    CHECK(request.outer["args"]["status"] == 200);
    CHECK(request.outer["args"]["method"] == "GET");
    CHECK(request.outer["args"]["request_of_connection"].get<int>() % 2 == 1);
    CHECK(request.outer["args"]["total_ms"] >= 100);
    connections.insert(request.outer["args"]["connection"]);
  }
  CHECK(connections.size() == 2);
  CHECK(slices_named(trace, "GET /sleep").size() == 6);
}

TEST_CASE("waits for a lock are in a trace, with the function that waits") {
  Demo demo;
  const json trace = trace_during(demo, "1.5", [&] {
    Background both(demo.address(), "/lock?ms=200", 3);
    for (const HttpAnswer& answer : both.join()) CHECK(answer.status == 200);
  });
  const std::vector<json> waits = slices_named(trace, "wait for a mutex");
  if (demo.debug_get("/debug/pprof/mutex").status == 501) {  // a sanitizer's build has no hooks
    CHECK(waits.empty());
    return;
  }
  std::vector<double> in_route;
  for (const json& wait : waits) {
    if (wait["args"].value("in", "").find("update_inventory") == std::string::npos) continue;
    in_route.push_back(wait["dur"].get<double>() / 1000);
  }
  std::sort(in_route.begin(), in_route.end());
  // Three handlers of 200 ms, one after the other.
  REQUIRE(in_route.size() == 2);
  CHECK(in_route[0] == Approx(200).margin(100));
  CHECK(in_route[1] == Approx(400).margin(150));
}

TEST_CASE("more traces than captures may run get 429, and those that run are complete") {
  Demo demo;
  constexpr int kCap = 8;
  Background running(demo.debug(), "/debug/pprof/trace?seconds=2", kCap);
  demo.debug_get_until("/metrics", "vigil_captures_running 8");
  const HttpAnswer refused = demo.debug_get("/debug/pprof/trace?seconds=1");
  CHECK(refused.status == 429);
  CHECK(refused.header("X-Go-Pprof") == "1");
  CHECK(refused.body.size() > 10);
  for (const HttpAnswer& answer : running.join()) parsed(answer);
  parsed(demo.debug_get("/debug/pprof/trace?seconds=0.25"));
}

TEST_CASE("a trace is saved as trace.json, several run at once, and bad seconds are refused") {
  Demo demo;
  Background more(demo.debug(), "/debug/pprof/trace?seconds=0.3", 2);
  const HttpAnswer answer = demo.debug_get("/debug/pprof/trace?seconds=0.3");
  parsed(answer);
  for (const HttpAnswer& other : more.join()) parsed(other);
  CHECK(answer.header("Content-Type") == "application/json");
  CHECK(answer.header("Content-Disposition") == "attachment; filename=\"trace.json\"");
  for (const char* seconds : {"0", "-1", "x", "inf", "nan", "1e3", "", "300.1", "0x1"}) {
    INFO(seconds);
    const HttpAnswer refused = demo.debug_get("/debug/pprof/trace?seconds=" + std::string(seconds));
    CHECK(refused.status == 400);
    CHECK(refused.body.find("\"seconds\"") != std::string::npos);
  }
}

TEST_CASE("a trace ends when its client goes away") {
  Demo demo;
  const HttpAnswer gone =
      http_get(demo.debug(), "/debug/pprof/trace?seconds=60", std::chrono::milliseconds(300));
  CHECK(gone.status == 0);
  CHECK(demo.debug_get_until("/metrics", "vigil_captures_running 0")
            .find("vigil_captures_running 0") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
