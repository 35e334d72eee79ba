// The watchdog in a real server.

#include <csignal>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using nlohmann::json;

TEST_CASE(
    "a stuck handler is flagged between the threshold and a half more, once, and marked when it "
    "recovers") {
  Demo demo({"--stuck-after=1s"});
  Background stuck(demo.address(), "/stuck", 1);
  demo.debug_get_until("/debug/leakwatch", "demo::wait_forever");

  const json flagged = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  REQUIRE(demo.process().wait_for_err("handler stuck"));  // the page may have it first
  const std::string log_when_stuck = demo.process().err();
  demo.post("/release");
  stuck.join();
  const std::string text = demo.debug_get_until("/debug/leakwatch", "recovered, age");
  const json recovered = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  const bool logged = demo.process().wait_for_err("handler recovered");

  REQUIRE(flagged["reports"].size() == 1);
  const json& report = flagged["reports"][0];
  CHECK(report["state"] == "stuck");
  CHECK(report["task"]["label"] == "GET /stuck");
  CHECK(report["age_when_flagged_ms"] >= 1000);
  CHECK(report["age_when_flagged_ms"] <= 1500);
  bool named = false;
  for (const json& frame : report["stack"]["frames"]) {
    named = named || frame["function"] == "demo::wait_forever";
  }
  CHECK(named);
  CHECK(count_of(log_when_stuck, "\"msg\":\"handler stuck\"") == 1);
  CHECK(log_when_stuck.find("demo::wait_forever") != std::string::npos);

  REQUIRE(recovered["reports"].size() == 1);
  CHECK(recovered["reports"][0]["state"] == "recovered");
  CHECK(recovered["reports"][0]["age_ms"] >= report["age_when_flagged_ms"]);
  CHECK(recovered["stuck_now"] == 0);
  CHECK(text.find("GET /stuck, recovered, age") != std::string::npos);
  CHECK(logged);
}

TEST_CASE(
    "two handlers that take two mutexes in opposite order are reported as a deadlock, young as "
    "they are") {
  Demo demo({"--stuck-after=4s"});
  Background ab(demo.address(), "/deadlock/ab?id=7", 1);
  Background ba(demo.address(), "/deadlock/ba", 1);
  const std::string text = demo.debug_get_until("/debug/leakwatch", "deadlock 1\n");
  const json page = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  const bool logged = demo.process().wait_for_err("\"msg\":\"deadlock\"");
  const std::string locks = demo.debug_get("/debug/locks").body;
  const json locks_json = json::parse(demo.debug_get("/debug/locks?format=json").body);
  const std::string dot = demo.debug_get("/debug/locks?format=dot").body;
  const std::string svg = demo.debug_get("/debug/locks?format=svg").body;
  const int bad_format = demo.debug_get("/debug/locks?format=png").status;
  const std::string html = demo.debug_get("/debug/leakwatch?format=html").body;
  const std::string listed = demo.debug_get("/debug/tasks?route=deadlock/ab&min_age=0").body;
  const int bad_age = demo.debug_get("/debug/tasks?min_age=soon").status;
  demo.process().kill(SIGKILL);  // nothing else ends them
  ab.join();
  ba.join();

  CHECK(locks.find("deadlocks: 1") != std::string::npos);
  CHECK(locks.find("held by thread") != std::string::npos);
  CHECK(locks_json["locks"].size() == 2);
  CHECK(locks_json["deadlocks"] == 1);
  CHECK(count_of(dot, "color=red") == 2);
  CHECK(count_of(svg, "<rect") == 2);
  CHECK(bad_format == 400);
  CHECK(html.find("http-equiv=\"refresh\"") != std::string::npos);
  CHECK(html.find("GET /deadlock/ba waits for mutex") != std::string::npos);
  CHECK(count_of(html, "<b>demo::lock_both (work.cc:") == 2);
  CHECK(count_of(listed, "GET /deadlock/ab") == 1);
  CHECK(count_of(listed, "GET /deadlock/ba") == 0);
  CHECK(bad_age == 400);
  CHECK(logged);
  CHECK(page["flagged"] == 0);  // before their threshold
  REQUIRE(page["deadlocks"].size() == 1);
  const json& threads = page["deadlocks"][0]["threads"];
  REQUIRE(threads.size() == 2);
  CHECK(threads[0]["waits_for_thread"] == threads[1]["thread"]);
  CHECK(threads[1]["waits_for_thread"] == threads[0]["thread"]);
  CHECK(threads[0]["lock"] != threads[1]["lock"]);
  std::set<std::string> routes;
  for (const json& thread : threads) {
    routes.insert(thread["task"]["label"]);
    CHECK(thread["stack"]["waits_for"]["kind"] == "mutex");
    CHECK(thread["stack"]["waits_for"]["object"] == thread["lock"]);
    CHECK(thread["stack"].dump().find("demo::lock_both") != std::string::npos);
  }
  CHECK(routes == std::set<std::string>{"GET /deadlock/ab", "GET /deadlock/ba"});
  CHECK(text.find("in task") != std::string::npos);
  CHECK(text.find("GET /deadlock/ba\nwaits for mutex 0x") != std::string::npos);
  CHECK(count_of(text, "\nwhere: demo::lock_both (work.cc:") == 2);
}

TEST_CASE(
    "handlers behind one mutex are one report with a count, the owner and whether they move") {
  Demo demo({"--stuck-after=400ms", "--stuck-after-route=GET /sleep=1m"});
  Background holder(demo.address(), "/lock?ms=4000", 1);
  demo.debug_get_until("/debug/tasks", "GET /lock");
  Background waiting(demo.address(), "/lock?ms=0&card=4711", 20);
  Background sleeping(demo.address(), "/sleep?ms=1500", 1);
  demo.debug_get_until("/debug/leakwatch", "20 tasks hang here");
  const std::string text = demo.debug_get_until("/debug/leakwatch", "since then: same frames for");
  const json page = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  REQUIRE(demo.process().wait_for_err("\"msg\":\"handler stuck\"", 2));
  const std::string log = demo.process().err();
  holder.join();
  waiting.join();
  sleeping.join();

  // One for those that wait, one for the one that holds it.
  REQUIRE(page["reports"].size() == 2);
  const bool first_waits = page["reports"][0]["tasks"] == 20;
  const json& report = page["reports"][first_waits ? 0 : 1];
  CHECK(report["tasks"] == 20);
  CHECK(report["members"].size() == 10);
  CHECK(report["request"]["method"] == "GET");
  CHECK(report["request"]["target"] == "/lock?ms=[redacted]&card=[redacted]");
  CHECK(report["request"]["peer"].get<std::string>().find("127.0.0.1:") == 0);
  CHECK(report["abandoned"] == false);
  CHECK(report["stack"]["waits_for"]["kind"] == "mutex");
  CHECK(report["holder"]["task"]["label"] == "GET /lock");
  CHECK(report["holder"]["stack"].dump().find("demo::update_inventory") != std::string::npos);
  CHECK(report["holder"]["stack"]["waits_for"]["kind"] == "sleep");
  CHECK(text.find("held by thread") != std::string::npos);
  CHECK(text.find("4711") == std::string::npos);
  CHECK(log.find("4711") == std::string::npos);
  CHECK(count_of(log, "\"msg\":\"handler stuck\"") == 2);
  CHECK(log.find("GET /sleep") == std::string::npos);
}

TEST_CASE("a threshold below the time between passes ends the start with a sentence") {
  Subprocess demo({kDemoProgram, "--listen=127.0.0.1:0", "--debug=127.0.0.1:0",
                   "--stuck-after-route=GET /hello=10ms"});
  const auto result = demo.wait(std::chrono::seconds(20));
  CHECK(result.exit_status == 1);
  CHECK(result.err.find("the watchdog's threshold for \"GET /hello\" is 10ms") !=
        std::string::npos);
}

TEST_CASE("handlers below the threshold are not flagged") {
  // Looked at every half second, with room for a busy machine.
  Demo demo({"--stuck-after=2s"});
  CHECK(demo.get("/sleep?ms=1200").status == 200);
  CHECK(demo.get("/work?ms=200").status == 200);
  const json report = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  CHECK(report["flagged"] == 0);
}

TEST_CASE("a long capture on the debug listener is no stuck handler") {
  Demo demo({"--stuck-after=500ms"});
  CHECK(demo.debug_get("/debug/pprof/profile?seconds=2").status == 200);
  const json report = json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
  CHECK(report["flagged"] == 0);
}

}  // namespace
}  // namespace vigil::test
