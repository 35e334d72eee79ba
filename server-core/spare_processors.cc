#include "server-core/spare_processors.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "sampler/proc_file.h"

namespace vigil::http {
namespace {

// The processors' lines of /proc/stat come first; of a thousand of them this is enough.
constexpr std::size_t kReadMax = 128 * 1024;

// Empty if it cannot be read.
std::string read_start(const std::string& path) {
  auto text = sampler::read_proc_file(path.c_str(), kReadMax);
  return text ? *std::move(text) : std::string();
}

std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::optional<std::uint64_t> to_number(std::string_view word) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  const std::string text = read_start(path);
  std::string_view rest = text;
  return to_number(next_word(rest));
}

// Of cpu.stat: "usage_usec 1234".
std::optional<std::uint64_t> find_usage_us(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (next_word(line) == "usage_usec") return to_number(next_word(line));
  }
  return std::nullopt;
}

std::vector<bool> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails where the kernel has more processors than the set: then all count.
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {};
  std::vector<bool> allowed(CPU_SETSIZE);
  for (std::size_t i = 0; i < allowed.size(); ++i) allowed[i] = CPU_ISSET(i, &set);
  return allowed;
}

// "/a/b", "/a", "/": a group's path and those above it.
std::vector<std::string> path_upward(std::string path) {
  std::vector<std::string> paths;
  while (path.size() > 1 && path.starts_with('/')) {
    paths.push_back(path);
    path.resize(path.rfind('/'));
  }
  paths.emplace_back();
  return paths;
}

}  // namespace

std::optional<IdleTicks> parse_idle_ticks(std::string_view text, const std::vector<bool>& allowed) {
  IdleTicks idle;
  while (text.starts_with("cpu")) {
    std::string_view line = next_line(text);
    // "cpu" alone is the sum of all.
    const auto number = to_number(next_word(line).substr(3));
    if (!number || (!allowed.empty() && (*number >= allowed.size() || !allowed[*number]))) continue;
    for (int skipped = 0; skipped < 3; ++skipped) next_word(line);  // user, nice, system
    const auto idle_here = to_number(next_word(line));
    const auto io_wait = to_number(next_word(line));
    if (!idle_here || !io_wait) continue;
    idle.ticks += *idle_here + *io_wait;
    ++idle.processors;
  }
  if (idle.processors == 0) return std::nullopt;
  return idle;
}

std::optional<double> parse_cpu_max(std::string_view text) {
  const auto quota = to_number(next_word(text));
  const auto period = to_number(next_word(text));
  if (!quota || period.value_or(0) == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::string> parse_cgroup_path(std::string_view text, std::string_view controller) {
  while (!text.empty()) {
    // "4:cpu,cpuacct:/path", of version 2 "0::/path".
    const std::string_view line = next_line(text);
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    std::string_view names = line.substr(first + 1, second - first - 1);
    do {
      const std::size_t comma = std::min(names.find(','), names.size());
      if (names.substr(0, comma) == controller) return std::string(line.substr(second + 1));
      names.remove_prefix(std::min(comma + 1, names.size()));
    } while (!names.empty());
  }
  return std::nullopt;
}

SpareProcessors::SpareProcessors(const std::string& root)
    : stat_file_(root + "/proc/stat"), allowed_(allowed_processors()) {
  find_groups(root);
}

// In a container the path may be the host's, of which only the end is mounted: the root is always looked
// at.
void SpareProcessors::find_groups(const std::string& root) {
  const std::string membership = read_start(root + "/proc/self/cgroup");
  const std::string mount = root + "/sys/fs/cgroup";
  if (const auto path = parse_cgroup_path(membership, "")) {
    for (const std::string& each : path_upward(*path)) {
      const std::string group = mount + each;
      add_group({group + "/cpu.max", "", group + "/cpu.stat", {}});
    }
  }
  if (const auto path = parse_cgroup_path(membership, "cpu")) {
    for (const std::string& each : path_upward(*path)) {
      const std::string group = mount + "/cpu" + each;
      add_group({group + "/cpu.cfs_quota_us",
                 group + "/cpu.cfs_period_us",
                 mount + "/cpuacct" + each + "/cpuacct.usage",
                 {}});
    }
  }
}

void SpareProcessors::add_group(Group group) {
  if (::access(group.quota_file.c_str(), R_OK) == 0) groups_.push_back(std::move(group));
}

std::optional<double> SpareProcessors::quota(const Group& group) {
  if (group.period_file.empty()) return parse_cpu_max(read_start(group.quota_file));
  const auto quota = read_number(group.quota_file);  // -1: none
  const auto period = read_number(group.period_file);
  if (!quota || period.value_or(0) == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::uint64_t> SpareProcessors::usage_ns(const Group& group) {
  if (!group.period_file.empty()) return read_number(group.usage_file);
  const auto usage = find_usage_us(read_start(group.usage_file));
  if (!usage) return std::nullopt;
  return *usage * 1000;
}

// Without regard to quotas.
std::optional<double> SpareProcessors::unused_here(Duration used, double seconds) {
  const auto idle = parse_idle_ticks(read_start(stat_file_), allowed_);
  const auto before = std::exchange(idle_, idle);
  const Duration taken = used - std::exchange(used_, used);
  if (!idle || !before) return std::nullopt;
  // It may go back a little (proc(5) on iowait).
  const std::uint64_t ticks = std::max(idle->ticks, before->ticks) - before->ticks;
  const double left = static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
  const double half = static_cast<double>(idle->processors) / 2;
  return std::max({left / seconds, half - fractional_seconds(taken) / seconds, 0.0});
}

std::optional<double> SpareProcessors::unused(Group& group, double seconds) {
  const auto limit = quota(group);
  if (!limit) return std::nullopt;
  const auto used = usage_ns(group);
  const auto before = std::exchange(group.used_ns, used);
  // With a quota, but nothing to compare with: none is known to be left.
  if (!used || !before) return 0;
  const double taken = static_cast<double>(std::max(*used, *before) - *before) / 1e9 / seconds;
  return std::max(*limit - taken, 0.0);
}

std::optional<double> SpareProcessors::measure(MonotonicTime now, Duration used) {
  const auto before = std::exchange(measured_, now);
  const Duration passed = before ? now - *before : Duration(0);
  const bool stale = passed <= Duration(0) || passed > kWindowMax;
  const double seconds = stale ? 1 : fractional_seconds(passed);
  std::optional<double> spare = unused_here(used, seconds);
  for (Group& group : groups_) {
    const auto left = unused(group, seconds);
    if (left && spare) spare = std::min(*spare, *left);
  }
  return stale ? std::nullopt : spare;
}

}  // namespace vigil::http
