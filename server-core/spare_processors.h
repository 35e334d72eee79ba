// SpareProcessors: how many processors this process could use and does not.
//
//   SpareProcessors spare;
//   spare.measure(clock.now(), used);              // nothing yet: a beginning
//   … 100 ms later
//   spare.measure(clock.now(), used);              // 1.4: of two processors, over these 100 ms
//
// Of the processors that it may run on (sched_getaffinity(2)) it is, by /proc/stat, the greater of
//   - their idle time, that of waiting for a disk included. In a container that is the host's.
//   - what this process uses less than half of them. Where neighbours leave nothing idle, it would else
//     have one processor of many for ever, to which it has the same right as they. Half, because those who
//     send it its requests may be among them.
// But at most
//   - what is left of the quota of its control group and of each group above that it can see: a container
//     with a quota of 2 processors has none to spare when it uses both, however idle the host is. Both
//     versions of control groups; a group whose files cannot be read sets no limit.
// The affinity and the groups are those of the time at which it was made. It knows nothing of a hypervisor
// that gives less than it shows (steal time counts as used).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace vigil::http {

struct IdleTicks {
  std::uint64_t ticks = 0;     // of 1/sysconf(_SC_CLK_TCK) s, since boot
  std::size_t processors = 0;  // that were idle for so long, together
  friend bool operator==(const IdleTicks&, const IdleTicks&) = default;
};
// Of the processors in `allowed`, of all if it is empty, by the text of /proc/stat; it may be cut behind
// the processors' lines. Nothing if it has no line of them. Pure.
std::optional<IdleTicks> parse_idle_ticks(std::string_view text, const std::vector<bool>& allowed);

// The quota in processors: of "200000 100000" (cpu.max) 2.0. Nothing for "max 100000", or what is no such
// line. Pure.
std::optional<double> parse_cpu_max(std::string_view text);

// The path of this process in the hierarchy with `controller` (that of version 2: ""), by the text of
// /proc/self/cgroup. Nothing if there is none. Pure.
std::optional<std::string> parse_cgroup_path(std::string_view text, std::string_view controller);

// Not thread-safe.
class SpareProcessors {
 public:
  // A measurement longer ago than this is no beginning any more.
  static constexpr Duration kWindowMax = std::chrono::seconds(1);

  // `root`: what "/proc" and "/sys/fs/cgroup" are looked for under.
  explicit SpareProcessors(const std::string& root = "");

  // On average since the call before. `used`: the CPU time of this process so far. Nothing at the first call, where that was longer ago than
  // kWindowMax, and where the kernel does not say. Cost: some 50 us on a small machine (the kernel adds up
  // every interrupt for /proc/stat), which is why it is asked only when something depends on it.
  std::optional<double> measure(MonotonicTime now, Duration used);

 private:
  // A control group that may have a quota.
  struct Group {
    std::string quota_file;                // cpu.max, or cpu.cfs_quota_us of version 1
    std::string period_file;               // of version 1; empty: version 2
    std::string usage_file;                // cpu.stat, or cpuacct.usage
    std::optional<std::uint64_t> used_ns;  // at the call before
  };

  void find_groups(const std::string& root);
  void add_group(Group group);
  static std::optional<double> quota(const Group& group);
  static std::optional<std::uint64_t> usage_ns(const Group& group);
  std::optional<double> unused_here(Duration used, double seconds);
  static std::optional<double> unused(Group& group, double seconds);

  const std::string stat_file_;
  std::vector<bool> allowed_;
  std::vector<Group> groups_;
  std::optional<MonotonicTime> measured_;
  std::optional<IdleTicks> idle_;
  Duration used_{0};
};

}  // namespace vigil::http
