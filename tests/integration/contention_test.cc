// Who waits for whom in the demo, as the real clients show it.

#include <regex>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// Eight requests that each hold the inventory's lock for 20 ms: they wait 0, 20, … 140 ms.
void contend(const Demo& demo) {
  for (const HttpAnswer& answer : Background(demo.address(), "/lock?ms=20", 8).join()) {
    REQUIRE(answer.status == 200);
  }
}

std::string top_of(const Demo& demo, const std::string& path) {
  const Finished top = go_pprof({"-top", "-unit=ms", demo.debug_url(path)});
  INFO(path << "\n" << top.out << top.err);
  CHECK(top.exit_status == 0);
  return top.out;
}

// The cumulative milliseconds of `function` in a -top listing, 0 if it is not there.
double cumulative_ms(const std::string& top, const std::string& function) {
  const std::regex row("\\s([0-9.]+)ms\\s+[0-9.]+%\\s+" + function + "\n");
  std::smatch match;
  return std::regex_search(top, match, row) ? std::stod(match[1]) : 0;
}

HttpAnswer set_rate(const Demo& demo, const std::string& query, bool with_header = true) {
  HttpCall call;
  call.method = "POST";
  call.path = "/debug/pprof/rates" + query;
  if (with_header) call.headers.emplace("X-Vigil-Change", "1");
  return http_call(demo.debug(), call);
}

TEST_CASE("go tool pprof names who waits for the inventory's lock, and who holds it") {
  Demo demo;
  contend(demo);
  const std::string waiters = top_of(demo, "/debug/pprof/mutex");
  CHECK(waiters.find("Type: delay") != std::string::npos);
  // At least 20 + 40 + … 140, if all came at once; a busy machine spreads them.
  const double waited = cumulative_ms(waiters, "demo::update_inventory");
  CHECK(waited > 200);
  CHECK(cumulative_ms(waiters, "pthread_mutex_lock") >= waited);
  const std::string holders = top_of(demo, "/debug/pprof/mutex?by=holder");
  CHECK(cumulative_ms(holders, "demo::update_inventory") == Approx(waited).epsilon(0.1));
  CHECK(holders.find("pthread_mutex_unlock") != std::string::npos);
  CHECK(cumulative_ms(top_of(demo, "/debug/pprof/block"), "demo::update_inventory") >= waited);
}

TEST_CASE("the texts of mutex and block are Go's") {
  Demo demo;
  contend(demo);
  const HttpAnswer mutex = demo.debug_get("/debug/pprof/mutex?debug=1");
  CHECK(mutex.status == 200);
  const std::regex first(
      "--- mutex:\ncycles/second=1000000000\nsampling period=1\n"
      "[0-9]+ [0-9]+ @( 0x[0-9a-f]+)+\n[^]*");
  CHECK(std::regex_match(mutex.body, first));
  CHECK(mutex.body.find("demo::update_inventory") != std::string::npos);
  const HttpAnswer block = demo.debug_get("/debug/pprof/block?debug=1");
  CHECK(block.body.find("--- contention:\ncycles/second=1000000000\n") == 0);
}

TEST_CASE("threadcreate shows every thread at the stack that created it") {
  Demo demo;
  const std::string top = top_of(demo, "/debug/pprof/threadcreate");
  CHECK(top.find("Type: threadcreate") != std::string::npos);
  CHECK(top.find("vigil::http::EngineThread::start") != std::string::npos);
  CHECK(top.find("[created before vigil]") != std::string::npos);
  const std::string text = demo.debug_get("/debug/pprof/threadcreate?debug=1").body;
  std::smatch total;
  REQUIRE(std::regex_search(text, total, std::regex("^threadcreate profile: total ([0-9]+)\n")));
  CHECK(std::stoi(total[1]) >= 4);
}

TEST_CASE("with seconds, mutex shows what came in that time") {
  Demo demo;
  contend(demo);
  Background delta(demo.debug(), "/debug/pprof/mutex?seconds=1", 1);
  const HttpAnswer answer = delta.join().front();
  CHECK(answer.status == 200);
  CHECK(answer.header("Content-Disposition") == "attachment; filename=\"mutex-delta\"");
  const std::string top = top_of(demo, "/debug/pprof/mutex?seconds=1");
  CHECK(cumulative_ms(top, "demo::update_inventory") == 0);
  CHECK(demo.debug_get("/debug/pprof/mutex?seconds=1&debug=1").status == 400);
}

TEST_CASE("switched off, mutex and block are 501 and say what to do, until a rate is set") {
  Demo demo({"--contention-rate=0", "--allow-changes=on"});
  for (const char* path : {"/debug/pprof/mutex", "/debug/pprof/block"}) {
    const HttpAnswer off = demo.debug_get(path);
    CHECK(off.status == 501);
    CHECK(off.header("X-Go-Pprof") == "1");
    CHECK(off.body.find("/debug/pprof/rates") != std::string::npos);
  }
  CHECK(demo.debug_get("/debug/pprof/threadcreate").status == 200);
  const HttpAnswer set = set_rate(demo, "?contention_ns=1000");
  CHECK(set.status == 200);
  CHECK(set.body == "contention_ns=1000\n");
  CHECK(demo.debug_get("/debug/pprof/rates").body == "contention_ns=1000\n");
  contend(demo);
  CHECK(cumulative_ms(top_of(demo, "/debug/pprof/mutex"), "demo::update_inventory") > 200);
}

TEST_CASE("P7.4 rates change only by POST with a header, and only where that is allowed") {
  Demo demo;
  CHECK(set_rate(demo, "?contention_ns=5").status == 403);
  Demo willing({"--allow-changes=on"});
  CHECK(set_rate(willing, "?contention_ns=5", false).status == 403);
  CHECK(willing.debug_get("/debug/pprof/rates?contention_ns=5").body == "contention_ns=1000000\n");
  for (const char* bad : {"", "?contention_ns=", "?contention_ns=-1", "?contention_ns=1e3",
                          "?contention_ns=100000000001"}) {
    INFO(bad);
    CHECK(set_rate(willing, bad).status == 400);
  }
  CHECK(set_rate(willing, "?contention_ns=100000000000").status == 200);
  CHECK(willing.debug_get("/debug/pprof/mutex?by=nobody").status == 400);
}

TEST_CASE("google-pprof reads /pprof/contention") {
  Demo demo;
  contend(demo);
  const std::string url = "http://" + format_host_port(demo.debug()) + "/pprof/contention";
  const Finished text = run({"google-pprof", "--text", url});
  INFO(text.out << text.err);
  CHECK(text.exit_status == 0);
  CHECK(text.out.find("update_inventory") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
