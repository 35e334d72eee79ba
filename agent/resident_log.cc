#include "agent/resident_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <exception>

#include "agent/own_descriptors.h"
#include "base/fd.h"

namespace vigil {
namespace {

UniqueFd open_target(const std::string& target) {
  if (target == "stderr") return program_descriptor(STDERR_FILENO);
  return UniqueFd(::open(target.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
}

}  // namespace

void ResidentLog::write(const LogRecord& record) noexcept try {
  if (record.level >= LogLevel::kWarn) write_line(to_json_line(record));
} catch (const std::exception&) {
  lost_.fetch_add(1, std::memory_order_relaxed);
}

void ResidentLog::say(std::string_view text) noexcept try {
  write_line("vigil: " + std::string(text) + "\n");
} catch (const std::exception&) {
  lost_.fetch_add(1, std::memory_order_relaxed);
}

void ResidentLog::write_line(std::string_view line) noexcept {
  if (target_ == "off") return;
  const UniqueFd file = open_target(target_);
  if (!file || ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    lost_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace vigil
