// Profiles read by the real clients.

#include <atomic>
#include <csignal>
#include <filesystem>
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

// The flat percentage of `function` in a -top listing, -1 if it is not there.
double flat_percent(const std::string& top, const std::string& function) {
  const std::regex row("\\s([0-9.]+)%\\s+[0-9.]+%\\s+\\S+\\s+[0-9.]+%\\s+" + function + "\n");
  std::smatch match;
  return std::regex_search(top, match, row) ? std::stod(match[1]) : -1;
}

TEST_CASE("go tool pprof names the two functions of /work with 75 and 25 percent") {
  Demo demo;
  const Load load(demo.address());
  const Finished top = go_pprof({"-top", demo.debug_url("/debug/pprof/profile?seconds=5")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  CHECK(flat_percent(top.out, "demo::checksum") == Approx(75).margin(3));
  CHECK(flat_percent(top.out, "demo::compress") == Approx(25).margin(3));
}

TEST_CASE("a stripped binary's profile has the names in it") {
  const TemporaryFolder folder;
  const std::string stripped = folder.path / "vigil-demo";
  REQUIRE(run({"strip", "-o", stripped, kDemoProgram}).exit_status == 0);
  Demo demo({}, stripped);
  HttpAnswer profile;
  {
    const Load load(demo.address());
    profile = demo.debug_get("/debug/pprof/profile?seconds=3");
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
  CHECK(flat_percent(top.out, "demo::checksum") == Approx(75).margin(5));
  CHECK(flat_percent(top.out, "demo::compress") == Approx(25).margin(5));
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
