// Metrics: what /proc/self says.
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/process_counts.h"
#include "endpoints/metrics.h"

namespace vigil::endpoints {
namespace {

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The fields of /proc/self/stat behind the program's name, which may hold spaces and brackets:
// [0] is the state, field 3 of proc(5).
std::vector<std::string> stat_fields() {
  const std::string text = text_of("/proc/self/stat");
  std::istringstream rest(text.substr(std::min(text.rfind(')'), text.size() - 1) + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

std::uint64_t number(const std::vector<std::string>& fields, std::size_t field_of_proc5) {
  const std::size_t index = field_of_proc5 - 3;
  return index < fields.size() ? std::strtoull(fields[index].c_str(), nullptr, 10) : 0;
}

// When the machine was started, in seconds since 1970: "btime" of /proc/stat.
double boot_time_seconds() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return 0;
}

}  // namespace

ProcessFigures process_figures() {
  ProcessFigures figures;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const std::vector<std::string> fields = stat_fields();
  figures.cpu_seconds = static_cast<double>(number(fields, 14) + number(fields, 15)) / ticks;
  figures.threads = number(fields, 20);
  figures.virtual_bytes = number(fields, 23);
  figures.resident_bytes = number(fields, 24) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  figures.start_time_seconds =
      boot_time_seconds() + static_cast<double>(number(fields, 22)) / ticks;
  figures.open_fds = count_descriptors();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) figures.max_fds = limit.rlim_cur;
  return figures;
}

}  // namespace vigil::endpoints
