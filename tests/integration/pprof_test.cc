// Profiles read by the real clients.

#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <regex>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// Keeps two threads of the server busy with /work until it is destroyed.
class Load {
 public:
  explicit Load(const HostPort& server) {
    for (std::thread& thread : threads_) {
      thread = std::thread([this, server] {
        while (!stop_) http_get(server, "/work?ms=200");
      });
    }
  }
  ~Load() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread threads_[2];
};

// The percentage of `function` in a -top listing, with what it calls; 0 if it is not there.
double percent_of(const std::string& top, const std::string& function) {
  const std::regex row("\\s[0-9.]+%\\s+[0-9.]+%\\s+\\S+\\s+([0-9.]+)%\\s+" + function + "\n");
  std::smatch match;
  return std::regex_search(top, match, row) ? std::stod(match[1]) : 0;
}

// What demo::checksum has of the two functions of /work, in percent. What the server does besides is
// not part of it: beside other programs that is more.
double percent_of_checksum(const std::string& top) {
  const double checksum = percent_of(top, "demo::checksum");
  return 100 * checksum / (checksum + percent_of(top, "demo::compress"));
}

TEST_CASE("go tool pprof names the two functions of /work with 75 and 25 percent") {
  Demo demo;
  const Load load(demo.address());
  // At 100 Hz the samples of 5 s on one busy processor spread by 2 points.
  const Finished top = go_pprof({"-top", demo.debug_url("/debug/pprof/profile?seconds=5&hz=500")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  CHECK(percent_of_checksum(top.out) == Approx(75).margin(3));
}

TEST_CASE("a stripped binary's profile has the names in it") {
  const TemporaryFolder folder;
  const std::string stripped = folder.path / "vigil-demo";
  REQUIRE(run({"strip", "-o", stripped, kDemoProgram}).exit_status == 0);
  Demo demo({}, stripped);
  HttpAnswer profile;
  {
    const Load load(demo.address());
    profile = demo.debug_get("/debug/pprof/profile?seconds=3&hz=500");
  }
  REQUIRE(profile.status == 200);
  demo.process().kill(SIGTERM);
  demo.process().wait();
  const std::string saved = folder.path / "cpu.pb.gz";
  {
    FILE* file = fopen(saved.c_str(), "wb");
    REQUIRE(file != nullptr);
    fwrite(profile.body.data(), 1, profile.body.size(), file);
    fclose(file);
  }
  std::filesystem::remove(stripped);
  const Finished top = go_pprof({"-top", saved});
  INFO(top.out << top.err);
  CHECK(percent_of_checksum(top.out) == Approx(75).margin(5));
}

TEST_CASE("the task dump is a profile that pprof reads, with the route as a label") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 5);
  demo.debug_get_until("/debug/tasks", "tasks: 5 live");
  const Finished raw = go_pprof({"-raw", demo.debug_url("/debug/pprof/goroutine")});
  demo.post("/release");
  stuck.join();
  INFO(raw.out << raw.err);
  REQUIRE(raw.exit_status == 0);
  CHECK(raw.out.find("demo::wait_forever") != std::string::npos);
  CHECK(raw.out.find("method:[GET] route:[/stuck]") != std::string::npos);
}

TEST_CASE("with symbolize=0 pprof asks the symbol page and gets the names") {
  Demo demo;
  const Load load(demo.address());
  const Finished top = go_pprof(
      {"-top", "-symbolize=remote", demo.debug_url("/debug/pprof/profile?seconds=2&symbolize=0")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  CHECK(top.out.find("demo::checksum") != std::string::npos);
}

TEST_CASE("go tool pprof shows the route and the program's labels of CPU samples") {
  Demo demo;
  Background work(demo.address(), "/work?ms=3000&tenant=acme", 1);
  const Finished tags = go_pprof({"-tags", demo.debug_url("/debug/pprof/profile?seconds=2")});
  const Finished task =
      go_pprof({"-tags", demo.debug_url("/debug/pprof/profile?seconds=1&labels=task&route=/work")});
  work.join();
  INFO(tags.out << tags.err << task.out << task.err);
  REQUIRE(tags.exit_status == 0);
  CHECK(std::regex_search(tags.out, std::regex("route: Total .*\n.*100%\\): /work\n")));
  CHECK(std::regex_search(tags.out, std::regex("method: Total .*\n.*100%\\): GET\n")));
  CHECK(std::regex_search(tags.out, std::regex("tenant: Total .*\n.*100%\\): acme\n")));
  CHECK(tags.out.find("task:") == std::string::npos);
  REQUIRE(task.exit_status == 0);
  CHECK(std::regex_search(task.out, std::regex("task: Total .*\n.*100%\\): [0-9]+")));
  CHECK(task.out.find("tenant:") == std::string::npos);
}

TEST_CASE("go tool pprof reads the wall-clock profile, with the state as a label") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 1);
  Background working(demo.address(), "/work?ms=4000", 1);
  demo.debug_get_until("/debug/tasks", "tasks: 2 live");
  const Finished tags =
      go_pprof({"-tags", "-seconds", "1", demo.debug_url("/debug/pprof/wall?of=tasks&hz=100")});
  const Finished top =
      go_pprof({"-top", "-seconds", "1", demo.debug_url("/debug/fgprof?route=/stuck")});
  const Finished remote =
      go_pprof({"-top", "-symbolize=remote",
                demo.debug_url("/debug/fgprof?seconds=1&symbolize=0&route=/stuck")});
  demo.post("/release");
  stuck.join();
  working.join();
  INFO(tags.out << tags.err << top.out << top.err << remote.out << remote.err);
  REQUIRE(tags.exit_status == 0);
  CHECK(tags.out.find(": futex wait\n") != std::string::npos);
  CHECK(tags.out.find(": running\n") != std::string::npos);
  CHECK(tags.out.find(": /stuck\n") != std::string::npos);
  CHECK(tags.out.find(": /work\n") != std::string::npos);
  REQUIRE(top.exit_status == 0);
  CHECK(top.out.find("Type: time") != std::string::npos);
  CHECK(top.out.find("demo::wait_forever") != std::string::npos);
  CHECK(top.out.find("demo::checksum") == std::string::npos);
  CHECK(remote.out.find("demo::wait_forever") != std::string::npos);
}

TEST_CASE("only requests that took long enough are in a profile with min_latency") {
  Demo demo;
  std::atomic<bool> stop{false};
  std::thread fast([&] {
    while (!stop) http_get(demo.address(), "/work?ms=5&tenant=fast");
  });
  Background slow(demo.address(), "/work?ms=1500&tenant=slow", 1);
  const Finished tags =
      go_pprof({"-tags", demo.debug_url("/debug/pprof/profile?seconds=2&min_latency=500ms")});
  stop = true;
  fast.join();
  slow.join();
  INFO(tags.out << tags.err);
  REQUIRE(tags.exit_status == 0);
  CHECK(std::regex_search(tags.out, std::regex("tenant: Total .*\n.*100%\\): slow\n")));
  CHECK(demo.debug_get("/metrics").body.find("vigil_profiles_total{profile=\"profile\"} 1") !=
        std::string::npos);
}

TEST_CASE("more captures than the cap are refused, and a client that goes gives its place back") {
  Demo demo;
  // curl gives up after 5 s of the 60 that it asked for.
  std::vector<std::unique_ptr<Subprocess>> clients;
  const char* const paths[] = {"profile", "wall", "goroutine", "heap"};
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Subprocess>(std::vector<std::string>{
        "curl", "-s", "-o", "/dev/null", "-m", "5",
        demo.debug_url("/debug/pprof/" + std::string(paths[i % 3]) + "?seconds=60")}));
  }
  demo.debug_get_until("/metrics", "\nvigil_captures_running 8\n");
  for (const char* path : paths) {
    INFO(path);
    const HttpAnswer answer = demo.debug_get("/debug/pprof/" + std::string(path) + "?seconds=1");
    CHECK(answer.status == 429);
    CHECK(answer.header("X-Go-Pprof") == "1");
    CHECK(answer.body.find("8 captures") == 0);
  }
  // What takes no time needs no place.
  CHECK(demo.debug_get("/debug/pprof/goroutine?debug=2").status == 200);
  const std::string metrics = demo.debug_get_until("/metrics", "\nvigil_captures_running 0\n");
  CHECK(metrics.find("\nvigil_captures_running 0\n") != std::string::npos);
  CHECK(metrics.find("\nvigil_captures_refused_total 4\n") != std::string::npos);
}

TEST_CASE("two captures at once both succeed") {
  Demo demo;
  const Load load(demo.address());
  Background first(demo.debug(), "/debug/pprof/profile?seconds=2", 3);
  for (const HttpAnswer& answer : first.join()) {
    CHECK(answer.status == 200);
    CHECK(answer.body.substr(0, 2) == "\x1f\x8b");
  }
}

}  // namespace
}  // namespace vigil::test
