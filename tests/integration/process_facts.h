// What /proc shows of a child process: to see that nothing is left behind.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace vigil::test {

// The number behind "NAME:" in /proc/PID/status, read in `base`; 0 if there is none.
inline std::uint64_t status_number(pid_t pid, const std::string& name, int base = 10) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(name + ":", 0) == 0) {
      return std::stoull(line.substr(name.size() + 1), nullptr, base);
    }
  }
  return 0;
}

inline std::size_t thread_count(pid_t pid) { return status_number(pid, "Threads"); }
inline std::size_t resident_bytes(pid_t pid) { return status_number(pid, "VmRSS") * 1024; }

// Open descriptors.
inline std::size_t descriptor_count(pid_t pid) {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd", error);
  return error ? 0 : static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

// User and system time that the process has had.
inline std::chrono::milliseconds cpu_time_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  // Behind the name, which may hold anything: state is field 3, utime 14, stime 15 (proc(5)).
  std::size_t at = line.rfind(')') + 1;
  for (int field = 3; field < 14; ++field) at = line.find(' ', at + 1);
  char* rest = nullptr;
  const long user = std::strtol(line.c_str() + at, &rest, 10);
  const long system = std::strtol(rest, nullptr, 10);
  return std::chrono::milliseconds((user + system) * 1000 / sysconf(_SC_CLK_TCK));
}

}  // namespace vigil::test
