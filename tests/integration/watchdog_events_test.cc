// What the watchdog says of clients that are gone, of a server that ends, and of high watermarks,
// in a real server; and what a browser is shown.
#include <csignal>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/raw_client.h"

namespace vigil::test {
namespace {

using nlohmann::json;

TEST_CASE("a stuck handler whose client is gone is called abandoned, its twin is not") {
  Demo demo({"--stuck-after=300ms"});
  Background stays(demo.address(), "/sleep?ms=4000", 1);
  {
    RawClient gone(demo.address());
    gone.send("GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n");
    demo.debug_get_until("/debug/tasks", "GET /stuck");
  }
  const std::string text = demo.debug_get_until("/debug/leakwatch", "GET /stuck, abandoned");
  demo.debug_get_until("/debug/leakwatch", "GET /sleep, ");
  const json page = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  REQUIRE(demo.process().wait_for_err("handler stuck", 2));  // the page may have them first
  demo.post("/release");
  stays.join();
  CHECK(text.find("GET /stuck, abandoned (its client is gone), ") != std::string::npos);
  REQUIRE(page["reports"].size() == 2);
  for (const json& report : page["reports"]) {
    CHECK(report["abandoned"] == (report["task"]["label"] == "GET /stuck"));
  }
  // Its first record; on a busy machine it may be "still stuck" before it is released.
  std::istringstream log(demo.process().err());
  int abandoned = 0;
  for (std::string line; std::getline(log, line);) {
    const bool is_first = line.find("\"msg\":\"handler stuck\"") != std::string::npos;
    if (is_first && line.find("\"abandoned\":true") != std::string::npos) ++abandoned;
  }
  CHECK(abandoned == 1);
}

TEST_CASE("a handler that is stuck while the server shuts down is reported as that") {
  Demo demo({"--stuck-after=300ms"});
  Background last(demo.address(), "/sleep?ms=1500", 1);
  demo.debug_get_until("/debug/tasks", "GET /sleep");
  demo.process().kill(SIGTERM);
  const std::string text = demo.debug_get_until("/debug/leakwatch", "GET /sleep, ");
  const auto answers = last.join();
  const auto ended = demo.process().wait(std::chrono::seconds(20));
  CHECK(text.find("GET /sleep, while the server shuts down, stuck") != std::string::npos);
  CHECK(answers[0].status == 200);
  CHECK(ended.exit_status == 0);
  CHECK(count_of(ended.err, "\"msg\":\"handler stuck\"") == 1);
  CHECK(ended.err.find("\"draining\":true") != std::string::npos);
}

TEST_CASE("a handler that is stuck while the server serves is not said to be in a shutdown") {
  Demo demo({"--stuck-after=300ms"});
  Background busy(demo.address(), "/sleep?ms=800", 1);
  const bool logged = demo.process().wait_for_err("\"msg\":\"handler stuck\"");
  busy.join();
  CHECK(logged);
  CHECK(demo.process().err().find("draining") == std::string::npos);
}

TEST_CASE("a report has the labels that the program gave its work, and says that it spins") {
  Demo demo({"--stuck-after=300ms"});
  Background busy(demo.address(), "/work?ms=2500&tenant=acme", 1);
  const std::string text = demo.debug_get_until("/debug/leakwatch", "spinning (used ");
  const json page = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  busy.join();
  CHECK(text.find("label: tenant=acme\n") != std::string::npos);
  REQUIRE(page["reports"].size() == 1);
  CHECK(page["reports"][0]["labels"]["tenant"] == "acme");
  CHECK(page["reports"][0]["movement"]["cpu_ms"] > 0);
}

TEST_CASE("more tasks, threads and descriptors than their watermarks are said once, with a dump") {
  Demo demo({"--watermark-tasks=5", "--watermark-threads=25", "--watermark-descriptors=60"});
  Background stuck(demo.address(), "/stuck", 60);
  demo.debug_get_until("/debug/leakwatch", "descriptors, more than 60");
  demo.debug_get_until("/debug/leakwatch", "threads, more than 25");
  const std::string text = demo.debug_get_until("/debug/leakwatch", "tasks, more than 5");
  demo.debug_get_until("/metrics", "vigil_watchdog_watermarks_total 3");
  const json page = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  REQUIRE(demo.process().wait_for_err("\"msg\":\"high watermark\"", 3));
  demo.post("/release");
  stuck.join();
  const std::string log = demo.process().err();
  CHECK(text.find("threads [futex wait], one of them") != std::string::npos);
  REQUIRE(page["watermarks"].size() == 3);
  for (const json& report : page["watermarks"]) {
    INFO(report.dump());
    CHECK(report["value"] > report["limit"]);
    const std::string dump = report["dump"];
    const bool of_descriptors = report["what"] == "descriptors";
    CHECK(dump.find(of_descriptors ? "  socket\n" : "demo::wait_forever") != std::string::npos);
  }
  CHECK(count_of(log, "\"msg\":\"high watermark\"") == 3);
}

TEST_CASE("tasks are listed for a browser, filtered by route, age and state, and sorted") {
  Demo demo({"--stuck-after=300ms"});
  Background stuck(demo.address(), "/stuck?card=4711", 2);
  demo.debug_get_until("/debug/tasks?state=stuck", "2 live");
  Background sleeping(demo.address(), "/sleep?ms=2000", 1);
  demo.debug_get_until("/debug/tasks", "GET /sleep");
  const std::string all = demo.debug_get("/debug/tasks?format=html&sort=label").body;
  const std::string only_stuck =
      demo.debug_get("/debug/tasks?format=html&state=stuck&route=/s&min_age=300ms").body;
  const int bad_state = demo.debug_get("/debug/tasks?format=html&state=asleep").status;
  const int bad_sort = demo.debug_get("/debug/tasks?sort=colour").status;
  demo.post("/release");
  stuck.join();
  sleeping.join();
  CHECK(count_of(all, "<tr><td") == 3);
  CHECK(all.find("GET /sleep") < all.find("GET /stuck"));
  CHECK(all.find("GET /stuck?card=[redacted] from 127.0.0.1:") != std::string::npos);
  CHECK(all.find("4711") == std::string::npos);
  CHECK(count_of(only_stuck, "<tr><td") == 2);
  CHECK(count_of(only_stuck, "<td class=stuck>stuck</td>") == 2);
  // A column's link keeps what is filtered by.
  CHECK(only_stuck.find("sort=thread&amp;route=/s&amp;min_age=300ms&amp;state=stuck") !=
        std::string::npos);
  CHECK(bad_state == 400);
  CHECK(bad_sort == 400);
}

}  // namespace
}  // namespace vigil::test
