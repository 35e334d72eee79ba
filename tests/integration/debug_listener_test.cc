// The debug listener as an on-call engineer meets it: through its Unix socket, with a token, and when
// the process has nothing left. The clients are curl, tar and go tool pprof.

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"
#include "tests/support/raw_client.h"
#include "tests/support/temporary_folder.h"

using namespace std::chrono_literals;

namespace vigil::test {
namespace {

using SteadyTime = std::chrono::steady_clock;

// curl's output; its exit status and messages where it failed.
std::string curl(std::vector<std::string> arguments) {
  std::vector<std::string> command = {"curl", "-sS", "--fail-with-body"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const Finished finished = run(command);
  if (finished.exit_status == 0) return finished.out;
  return "curl " + std::to_string(finished.exit_status) + ": " + finished.out + finished.err;
}

// The longest time that one of `n` requests to the program's own listener took, in seconds.
double slowest_of(const Demo& demo, int n) {
  double slowest = 0;
  for (int i = 0; i < n; ++i) {
    const auto begin = SteadyTime::now();
    CHECK(demo.get("/hello").status == 200);
    slowest = std::max(slowest, std::chrono::duration<double>(SteadyTime::now() - begin).count());
  }
  return slowest;
}

void set_limit(const Demo& demo, decltype(RLIMIT_AS) which, rlim_t soft) {
  rlimit limit{};
  const pid_t pid = const_cast<Demo&>(demo).process().pid();
  REQUIRE(prlimit(pid, which, nullptr, &limit) == 0);
  limit.rlim_cur = soft;
  REQUIRE(prlimit(pid, which, &limit, nullptr) == 0);
}

std::size_t descriptors_of(pid_t pid) {
  const std::filesystem::directory_iterator open("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

std::uint64_t virtual_bytes_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  std::uint64_t pages = 0;
  file >> pages;
  return pages * 4096;
}

bool has_frames(const HttpAnswer& dump) {
  return dump.status == 200 && dump.body.find("goroutine ") != std::string::npos &&
         dump.body.find("+0x") != std::string::npos;
}

// Asks until the answer is as wanted, for at most 15 s.
template <typename Wanted>
bool until(const Wanted& wanted) {
  const auto deadline = SteadyTime::now() + 15s;
  while (SteadyTime::now() < deadline) {
    if (wanted()) return true;
    std::this_thread::sleep_for(50ms);
  }
  return false;
}

}  // namespace

TEST_CASE("P7.1 curl and go tool pprof through the Unix socket") {
  TemporaryFolder folder;
  const std::string socket = folder / "debug.sock";
  Demo demo({"--debug=none", "--debug-unix=" + socket});
  CHECK(demo.process().out().find("listening on unix:" + socket) != std::string::npos);
  CHECK(curl({"--unix-socket", socket, "http://localhost/healthz"}) == "ok\n");
  CHECK(curl({"--unix-socket", socket, "http://localhost/debug/tasks"}).find("tasks: ") == 0);

  Background work(demo.address(), "/work?ms=1500", 1);
  const std::string profile = folder / "cpu.pb.gz";
  CHECK(curl({"--unix-socket", socket, "-o", profile,
              "http://localhost/debug/pprof/profile?seconds=1"}) == "");
  work.join();
  const Finished top = go_pprof({"-top", profile});
  CHECK(top.exit_status == 0);
  CHECK(top.out.find("demo::burn") != std::string::npos);  // above both of its phases

  demo.process().kill(SIGTERM);
  CHECK(demo.process().wait().exit_status == 0);
  CHECK_FALSE(std::filesystem::exists(socket));
}

TEST_CASE("P7.11 what a killed process leaves is replaced by the next one") {
  TemporaryFolder folder;
  const std::string socket = folder / "debug.sock";
  {
    Demo demo({"--debug=none", "--debug-unix=" + socket});
    demo.process().kill(SIGKILL);
    demo.process().wait();
  }
  CHECK(std::filesystem::exists(socket));
  Demo next({"--debug=none", "--debug-unix=" + socket});
  CHECK(curl({"--unix-socket", socket, "http://localhost/healthz"}) == "ok\n");
}

TEST_CASE("P7.10 the token comes from a file and goes into curl's header") {
  TemporaryFolder folder;
  std::ofstream(folder / "token") << "0123456789abcdef-demo\n";
  Demo demo({"--debug-token-file=" + (folder / "token")});
  const std::string url = demo.debug_url("/healthz");
  CHECK(curl({url}).find("curl 22") == 0);
  CHECK(curl({"-H", "Authorization: Bearer 0123456789abcdef-demo", url}) == "ok\n");
  // Nor is it shown by the pages.
  for (const char* path : {"/debug/pprof/cmdline", "/debug/", "/debug/vars"}) {
    const std::string page =
        curl({"-H", "Authorization: Bearer 0123456789abcdef-demo", demo.debug_url(path)});
    CHECK(page.find("0123456789abcdef") == std::string::npos);
  }
}

TEST_CASE("P7.9 200 stuck debug clients do not slow the program, and are gone after a while") {
  Demo demo;
  std::vector<std::unique_ptr<RawClient>> stuck;
  for (int i = 0; i < 200; ++i) {
    stuck.push_back(std::make_unique<RawClient>(demo.debug()));
    if (i % 2 == 0) stuck.back()->send("GET /debug/tasks HTTP/1.1\r\nHost: localh");
  }
  CHECK(slowest_of(demo, 50) < 0.5);
  CHECK(until([&] { return demo.debug_get("/healthz").status == 200; }));
  CHECK(slowest_of(demo, 20) < 0.5);
}

TEST_CASE("100 debug clients at once are all answered") {
  Demo demo;
  Background clients(demo.debug(), "/debug/tasks", 100);
  for (const HttpAnswer& answer : clients.join()) CHECK(answer.status == 200);
  Background dumps(demo.debug(), "/debug/pprof/goroutine?debug=2", 20);
  for (const HttpAnswer& answer : dumps.join()) CHECK(has_frames(answer));
}

TEST_CASE("the debug pages answer while every thread of the program is stuck") {
  Demo demo({"--max-in-flight=20", "--stuck-after=200ms"});
  std::vector<RawClient> stuck;
  for (int i = 0; i < 20; ++i) {
    stuck.emplace_back(demo.address());
    stuck.back().send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  CHECK(demo.debug_get_until("/debug/", "Stuck now").find("GET /stuck") != std::string::npos);
  CHECK(demo.get("/hello").status == 503);  // the program itself
  const HttpAnswer dump = demo.debug_get("/debug/pprof/goroutine?debug=2");
  CHECK(count_of(dump.body, "demo::wait_forever") >= 20);
}

TEST_CASE("the debug pages answer when the process has no descriptor left") {
  Demo demo;
  const pid_t pid = demo.process().pid();
  REQUIRE(has_frames(demo.debug_get("/debug/pprof/goroutine?debug=2")));
  set_limit(demo, RLIMIT_NOFILE, descriptors_of(pid) + 4);
  std::vector<RawClient> idle;
  for (int i = 0; i < 40; ++i) idle.emplace_back(demo.address());
  // What is over the limit is answered 503 by the program's own listener.
  CHECK(until([&] { return demo.get("/hello").status == 503; }));
  for (const char* path : {"/healthz", "/debug/tasks", "/debug/", "/debug/maps", "/debug/conns"}) {
    INFO(path);
    // Told to come again (503) where the program was quicker to take what a page gave up.
    CHECK(until([&] { return demo.debug_get(path).status == 200; }));
  }
  CHECK(until([&] { return has_frames(demo.debug_get("/debug/pprof/goroutine?debug=2")); }));
  CHECK(demo.debug_get_until("/debug/maps", "vigil-demo").find("vigil-demo") != std::string::npos);
  CHECK(demo.debug_get_until("/debug/conns", "fresh").find("fresh") != std::string::npos);
}

TEST_CASE("the debug pages answer when the process has no memory left") {
  Demo demo;
  const pid_t pid = demo.process().pid();
  REQUIRE(has_frames(demo.debug_get("/debug/pprof/goroutine?debug=2")));
  set_limit(demo, RLIMIT_AS, virtual_bytes_of(pid) + (4 << 20));
  CHECK(until([&] { return demo.get("/alloc?kb=256").status != 200; }));
  for (const char* path : {"/healthz", "/debug/tasks", "/debug/", "/metrics"}) {
    INFO(path);
    CHECK(demo.debug_get(path).status == 200);
  }
  CHECK(has_frames(demo.debug_get("/debug/pprof/goroutine?debug=2")));
}

TEST_CASE("readyz says 503 while the server drains, healthz goes on") {
  Demo demo;
  CHECK(demo.debug_get("/readyz").status == 200);
  CHECK(demo.debug_get("/readyz").body == "ready\n[+] server main: serving\n");
  RawClient busy(demo.address());
  busy.send("GET /sleep?ms=3000 HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(demo.debug_get_until("/debug/tasks", "GET /sleep").find("GET /sleep") !=
          std::string::npos);
  demo.process().kill(SIGTERM);
  HttpAnswer answer;
  CHECK(until([&] { return (answer = demo.debug_get("/readyz")).status == 503; }));
  CHECK(answer.body == "not ready\n[-] server main: draining\n");
  CHECK(demo.debug_get("/healthz").status == 200);
  CHECK(busy.read_response().status == 200);
}

TEST_CASE("the connections are listed with their state, age, route and bytes") {
  Demo demo;
  RawClient idle(demo.address());
  idle.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(idle.read_response().status == 200);
  RawClient fresh(demo.address());
  RawClient busy(demo.address());
  busy.send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(demo.debug_get_until("/debug/tasks", "GET /stuck").find("GET /stuck") !=
          std::string::npos);

  // An answer is out before its connection is idle, and a client is connected before it is accepted.
  nlohmann::json json;
  CHECK(until([&] {
    const std::string body = demo.debug_get("/debug/conns?format=json").body;
    json = nlohmann::json::parse(body);
    return count_of(body, "\"idle\"") == 1 && count_of(body, "\"fresh\"") == 1;
  }));
  REQUIRE(json["servers"].size() == 1);
  CHECK(json["servers"][0]["server"] == "main");
  CHECK(json["servers"][0]["pollers_silent"] == 0);
  std::map<std::string, nlohmann::json> by_state;
  for (const auto& each : json["servers"][0]["connections"]) by_state[each["state"]] = each;
  REQUIRE(by_state.count("idle") == 1);
  CHECK(by_state["idle"]["requests"] == 1);
  CHECK(by_state["idle"]["received_bytes"] == 32);
  CHECK(by_state["idle"]["acknowledged_bytes"] > 100);
  CHECK(by_state.count("fresh") == 1);
  REQUIRE(by_state.count("handling") == 1);
  CHECK(by_state["handling"]["route"] == "GET /stuck");
  CHECK(by_state["handling"]["peer"].get<std::string>().find("127.0.0.1:") == 0);

  const std::string text = demo.debug_get("/debug/conns?state=idle").body;
  CHECK(text.find("server main: 1 connections, 1 idle") == 0);
  CHECK(demo.debug_get("/debug/conns?limit=1").body.find("2 more are not listed") !=
        std::string::npos);
  CHECK(demo.debug_get("/debug/conns?limit=0").status == 400);
  demo.post("/release");
}

TEST_CASE("the log's level is changed by POST with the header, for a time, where that is allowed") {
  Demo demo({"--allow-changes=on"});
  const auto post = [&](const std::string& query, bool with_header) {
    HttpCall call;
    call.method = "POST";
    call.path = "/debug/loglevel?" + query;
    if (with_header) call.headers.emplace("X-Vigil-Change", "1");
    return http_call(demo.debug(), call);
  };
  CHECK(demo.debug_get("/debug/loglevel").body == "info\n");
  CHECK(demo.debug_get("/debug/loglevel?level=debug").body == "info\n");  // GET changes nothing
  CHECK(post("level=debug", false).status == 403);
  CHECK(post("level=nope", true).status == 400);
  CHECK(post("level=debug&for=25h", true).status == 400);
  CHECK(post("level=debug&for=1h", true).body.find("debug for ") == 0);
  CHECK(demo.debug_get("/debug/loglevel").body.find("debug for ") == 0);
  CHECK(post("level=warn", true).body == "warn\n");
  CHECK(demo.process().wait_for_err("log level changed"));

  Demo strict;
  HttpCall call;
  call.method = "POST";
  call.path = "/debug/loglevel?level=debug";
  call.headers.emplace("X-Vigil-Change", "1");
  CHECK(http_call(strict.debug(), call).status == 403);
}

TEST_CASE("buildinfo names the program by its build id") {
  Demo demo;
  const auto json = nlohmann::json::parse(demo.debug_get("/debug/buildinfo?format=json").body);
  CHECK_FALSE(json["vigil"].get<std::string>().empty());
  CHECK(json["modules"][0]["main"] == true);
  CHECK(json["modules"][0]["path"].get<std::string>().find("vigil-demo") != std::string::npos);
  const std::string id = json["modules"][0]["build_id"];
  CHECK(id.size() == 40);
  CHECK(demo.debug_get("/debug/buildinfo").body.find(id) != std::string::npos);
  CHECK(demo.debug_get("/debug/").body.find(id) != std::string::npos);
}

TEST_CASE("a bundle is a tar.gz with every profile, dump and report") {
  TemporaryFolder folder;
  Demo demo({"--stuck-after=200ms"});
  RawClient stuck(demo.address());
  stuck.send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
  Background work(demo.address(), "/work?ms=2500", 1);
  demo.debug_get_until("/debug/leakwatch", "stuck");
  const auto begin = SteadyTime::now();
  CHECK(curl({"-o", folder / "bundle.tar.gz", demo.debug_url("/debug/bundle?seconds=1")}) == "");
  CHECK(SteadyTime::now() - begin < 8s);
  work.join();

  REQUIRE(run({"tar", "-xzf", folder / "bundle.tar.gz", "-C", folder.path.string()}).exit_status ==
          0);
  for (const char* name :
       {"buildinfo.txt", "stacks.txt", "tasks.json", "stuck.json", "locks.txt", "connections.txt",
        "metrics.prom", "vars.json", "maps", "goroutine.pb.gz", "cpu.pb.gz", "wall.pb.gz",
        "trace.json", "cmdline", "leakcheck.json"}) {
    INFO(name);
    CHECK(std::filesystem::exists(folder / name));
  }
  std::ifstream stacks(folder / "stacks.txt");
  const std::string text((std::istreambuf_iterator<char>(stacks)), {});
  CHECK(text.find("demo::wait_forever") != std::string::npos);
  const Finished top = go_pprof({"-top", folder / "cpu.pb.gz"});
  CHECK(top.out.find("demo::burn") != std::string::npos);  // above both of its phases
  std::ifstream trace(folder / "trace.json");
  CHECK(nlohmann::json::parse(trace).contains("traceEvents"));

  CHECK(demo.debug_get("/debug/bundle?seconds=0").status == 400);
  CHECK(demo.debug_get("/debug/bundle?seconds=301").status == 400);
}

TEST_CASE("what a bundle cannot have is there as an error with its reason") {
  TemporaryFolder folder;
  Demo demo({"--heap-sample=0"});
  CHECK(curl({"-o", folder / "b.tar.gz", demo.debug_url("/debug/bundle?seconds=1")}) == "");
  REQUIRE(run({"tar", "-xzf", folder / "b.tar.gz", "-C", folder.path.string()}).exit_status == 0);
  CHECK_FALSE(std::filesystem::exists(folder / "heap.pb.gz"));
  std::ifstream file(folder / "heap.pb.gz.error");
  std::string reason;
  std::getline(file, reason);
  CHECK(reason.find("heap") != std::string::npos);
}

TEST_CASE("P7.6 a client that leaves a bundle ends its captures within a second") {
  Demo demo;
  {
    RawClient client(demo.debug());
    client.send("GET /debug/bundle?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    REQUIRE(demo.debug_get_until("/metrics", "vigil_captures_running 1")
                .find("vigil_captures_running 1") != std::string::npos);
  }
  const auto begin = SteadyTime::now();
  CHECK(until([&] {
    return demo.debug_get("/metrics").body.find("vigil_captures_running 0") != std::string::npos;
  }));
  CHECK(SteadyTime::now() - begin < 2s);
}

TEST_CASE("profiles are kept when asked for: listed, downloaded, read by go tool pprof") {
  TemporaryFolder folder;
  Demo demo({"--keep-profiles=1s", "--keep-profiles-length=1s"});
  Background work(demo.address(), "/work?ms=6000", 1);
  nlohmann::json list;
  CHECK(until([&] {
    list = nlohmann::json::parse(demo.debug_get("/debug/profiles?format=json").body);
    return list["profiles"].size() >= 2;
  }));
  CHECK(list["profiles"][0]["kind"] == "cpu");
  CHECK(list["profiles"][0]["reason"] == "every 1s");
  CHECK(list["profiles"][0]["id"] > list["profiles"][1]["id"]);
  CHECK(demo.debug_get("/debug/profiles").body.find("every 1s") != std::string::npos);
  const std::string id = std::to_string(list["profiles"][0]["id"].get<int>());
  CHECK(curl({"-o", folder / "kept.pb.gz", demo.debug_url("/debug/profiles?id=" + id)}) == "");
  const Finished top = go_pprof({"-top", folder / "kept.pb.gz"});
  CHECK(top.out.find("demo::") != std::string::npos);
  CHECK(demo.debug_get("/debug/profiles?id=999999").status == 404);
  CHECK(demo.debug_get("/debug/profiles?id=x").status == 400);
  work.join();
}

TEST_CASE("a stuck handler triggers a dump and a profile of that moment") {
  Demo demo({"--keep-when-stuck=1", "--keep-profiles-length=1s", "--stuck-after=200ms"});
  CHECK(demo.debug_get("/debug/profiles").body.find("0 profiles taken") == 0);
  RawClient stuck(demo.address());
  stuck.send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string text = demo.debug_get_until("/debug/profiles", " cpu ");
  CHECK(text.find("1 handlers newly reported as stuck") != std::string::npos);
  const auto list = nlohmann::json::parse(demo.debug_get("/debug/profiles?format=json").body);
  for (const auto& each : list["profiles"]) {
    if (each["kind"] != "stacks") continue;
    const std::string id = std::to_string(each["id"].get<int>());
    CHECK(demo.debug_get("/debug/profiles?id=" + id).body.find("demo::wait_forever") !=
          std::string::npos);
  }
  CHECK(demo.process().wait_for_err("a trigger takes profiles"));
  CHECK(Demo().debug_get("/debug/profiles").status == 501);  // off by default
}

}  // namespace vigil::test
