// How much processor time is left: the kernel's files, and what is made of them.
#include "server-core/spare_processors.h"

#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "server-core/poller_load.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace std::chrono_literals;
using vigil::Duration;
using vigil::MonotonicTime;
using vigil::http::IdleTicks;
using vigil::http::parse_cgroup_path;
using vigil::http::parse_cpu_max;
using vigil::http::parse_idle_ticks;
using vigil::http::PollerLoad;
using vigil::http::SpareProcessors;

namespace {

constexpr MonotonicTime kStart{1h};

constexpr std::string_view kStat =
    "cpu  100 0 50 1030 40 0 7 0 0 0\n"
    "cpu0 40 0 20 1000 10 0 7 0 0 0\n"
    "cpu1 60 0 30 20 20 0 0 0 0 0\n"
    "cpu10 0 0 0 3 0 0 0 0 0 0\n"
    "intr 4711 0 0\n";

// A machine as the kernel shows it, in files.
class Machine {
 public:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  // Every processor that there can be has been idle for so long.
  void idle_for(Duration each) {
    const long ticks = each / 1ms * sysconf(_SC_CLK_TCK) / 1000;
    std::string text = "cpu  0 0 0 0 0 0 0 0 0 0\n";
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      text += "cpu" + std::to_string(i) + " 0 0 0 " + std::to_string(ticks) + " 0 0 0 0 0 0\n";
    }
    write("/proc/stat", text);
  }
  std::string root() const { return folder_.path.string(); }

 private:
  vigil::test::TemporaryFolder folder_;
};

int processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(sched_getaffinity(0, sizeof(set), &set) == 0);
  return CPU_COUNT(&set);
}

// What is measured where this process uses every processor: only what is idle is left.
std::optional<double> at(SpareProcessors& spare, MonotonicTime now) {
  return spare.measure(now, processors() * (now - kStart));
}

}  // namespace

TEST_CASE("idle time is that of the processors that the process may run on") {
  CHECK(parse_idle_ticks(kStat, {}) == IdleTicks{1010 + 40 + 3, 3});
  CHECK(parse_idle_ticks(kStat, {true}) == IdleTicks{1010, 1});
  CHECK(parse_idle_ticks(kStat, {false, true}) == IdleTicks{40, 1});
  std::vector<bool> tenth(11);
  tenth[10] = true;
  CHECK(parse_idle_ticks(kStat, tenth) == IdleTicks{3, 1});
  CHECK(parse_idle_ticks(kStat, {false, false, true}) == std::nullopt);
}

TEST_CASE("what is no /proc/stat gives no idle time") {
  CHECK(parse_idle_ticks("", {}) == std::nullopt);
  CHECK(parse_idle_ticks("cpu  1 2 3 4 5\n", {}) == std::nullopt);
  CHECK(parse_idle_ticks("cpu0 1 2 3", {}) == std::nullopt);
  CHECK(parse_idle_ticks("cpu0 1 2 3 x 5\ncpu1 1 2 3 4 5\n", {}) == IdleTicks{9, 1});
}

TEST_CASE("a control group's quota is read as processors") {
  CHECK(parse_cpu_max("250000 100000\n") == 2.5);
  CHECK(parse_cpu_max("max 100000\n") == std::nullopt);
  CHECK(parse_cpu_max("100000 0\n") == std::nullopt);
  CHECK(parse_cpu_max("100000") == std::nullopt);
  CHECK(parse_cpu_max("") == std::nullopt);
}

TEST_CASE("a process finds its control group in either version") {
  const std::string_view text =
      "4:cpuset:/set\n3:cpuacct,cpu:/work/a:b\n1:name=systemd:/s\n0::/two\n";
  CHECK(parse_cgroup_path(text, "") == "/two");
  CHECK(parse_cgroup_path(text, "cpu") == "/work/a:b");
  CHECK(parse_cgroup_path(text, "cpuset") == "/set");
  CHECK(parse_cgroup_path(text, "memory") == std::nullopt);
  CHECK(parse_cgroup_path("3:cpu\n", "cpu") == std::nullopt);
  CHECK(parse_cgroup_path("", "") == std::nullopt);
}

TEST_CASE("the first measurement is a beginning, and so is one after a long time") {
  Machine machine;
  machine.idle_for(0s);
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  machine.idle_for(50ms);
  CHECK(*at(spare, kStart + 100ms) == Approx(0.5 * processors()));
  CHECK(*at(spare, kStart + 200ms) == 0);
  machine.idle_for(1s);
  CHECK(at(spare, kStart + 200ms + SpareProcessors::kWindowMax + 1ns) == std::nullopt);
  machine.idle_for(2s);
  CHECK(*at(spare, kStart + 1200ms + SpareProcessors::kWindowMax) ==
        Approx(processors()).epsilon(0.001));
}

TEST_CASE(
    "a process that has less than half of the machine has something to spare though nothing is "
    "idle") {
  Machine machine;
  machine.idle_for(0s);
  SpareProcessors spare(machine.root());
  const double half = processors() / 2.0;
  CHECK(spare.measure(kStart, 5s) == std::nullopt);
  CHECK(*spare.measure(kStart + 100ms, 5s + 20ms) == Approx(std::max(half - 0.2, 0.0)));
  CHECK(*spare.measure(kStart + 200ms, 5s + 20ms + processors() * 50ms) == 0);
  // What is idle counts if it is more.
  machine.idle_for(90ms);
  CHECK(*spare.measure(kStart + 300ms, 6s) == Approx(0.9 * processors()));
}

TEST_CASE("idle time that goes back is none") {
  Machine machine;
  machine.idle_for(50ms);
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  machine.idle_for(40ms);
  CHECK(*at(spare, kStart + 100ms) == 0);
}

TEST_CASE("a quota of a control group above ours leaves what is not used of it") {
  Machine machine;
  machine.idle_for(0s);
  machine.write("/proc/self/cgroup", "0::/pod/app\n");
  machine.write("/sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
  machine.write("/sys/fs/cgroup/pod/cpu.stat", "usage_usec 7000000\nuser_usec 1\n");
  machine.write("/sys/fs/cgroup/pod/app/cpu.max", "max 100000\n");
  machine.write("/sys/fs/cgroup/pod/app/cpu.stat", "usage_usec 5000000\n");
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  machine.idle_for(100ms);
  machine.write("/sys/fs/cgroup/pod/cpu.stat", "usage_usec 7020000\nuser_usec 1\n");
  CHECK(*at(spare, kStart + 100ms) == Approx(0.3));
  machine.idle_for(200ms);
  machine.write("/sys/fs/cgroup/pod/cpu.stat", "usage_usec 7090000\nuser_usec 1\n");
  CHECK(*at(spare, kStart + 200ms) == 0);
}

TEST_CASE("so does one of the first version") {
  Machine machine;
  machine.idle_for(0s);
  machine.write("/proc/self/cgroup", "2:cpuacct,cpu:/app\n");
  machine.write("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "40000\n");
  machine.write("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
  machine.write("/sys/fs/cgroup/cpuacct/app/cpuacct.usage", "1000000000\n");
  machine.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  machine.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  machine.idle_for(100ms);
  machine.write("/sys/fs/cgroup/cpuacct/app/cpuacct.usage", "1010000000\n");
  CHECK(*at(spare, kStart + 100ms) == Approx(0.3));
}

TEST_CASE("with a quota whose use is not known nothing is known to be left") {
  Machine machine;
  machine.idle_for(0s);
  machine.write("/proc/self/cgroup", "0::/\n");
  machine.write("/sys/fs/cgroup/cpu.max", "800000 100000\n");
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  machine.idle_for(100ms);
  CHECK(*at(spare, kStart + 100ms) == 0);
}

TEST_CASE("a machine that hides its files has nothing to spare that is known") {
  const Machine machine;
  SpareProcessors spare(machine.root());
  CHECK(at(spare, kStart) == std::nullopt);
  CHECK(at(spare, kStart + 100ms) == std::nullopt);
}

TEST_CASE("this machine's own files are understood") {
  SpareProcessors spare;
  (void)at(spare, kStart);
  const auto left = at(spare, kStart + 100ms);
  REQUIRE(left.has_value());
  CHECK(*left >= 0);
}

// --- A poller's load.

TEST_CASE("a poller waits until somebody leads it") {
  const PollerLoad load(kStart);
  CHECK(load.at(kStart + 1s).waited == 1s);
}

TEST_CASE("a poller's time is divided into waiting and work") {
  PollerLoad load(kStart);
  load.end_wait(kStart + 10ms);
  CHECK(load.last_wake() == kStart + 10ms);
  CHECK(load.at(kStart + 15ms).waited == 10ms);
  load.begin_wait(kStart + 20ms);
  CHECK(load.at(kStart + 20ms).waited == 10ms);
  // A wait that goes on counts up to now, and so does work.
  CHECK(load.at(kStart + 50ms).waited == 40ms);
  load.end_wait(kStart + 60ms);
  CHECK(load.at(kStart + 60ms).waited == 50ms);
  CHECK(load.at(kStart + 5s).waited == 50ms);
}

TEST_CASE("stretches of work that are too long are added up") {
  PollerLoad load(kStart);
  load.begin_wait(kStart);
  load.end_wait(kStart);
  load.begin_wait(kStart + PollerLoad::kLongStretch);
  CHECK(load.at(kStart + 1s).late == 0ms);
  load.end_wait(kStart + 1s);
  load.begin_wait(kStart + 1s + PollerLoad::kLongStretch + 1ns);
  CHECK(load.at(kStart + 2s).late == PollerLoad::kLongStretch + 1ns);
}
