// Where a resident agent's words go: the program's stderr, a file, or nowhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/log.h"

namespace vigil {

// Records of level warn and above as JSON lines, and plain lines by say(). `target` is ResidentOptions::log: "stderr",
// "off" or the path of a file that is appended to. The descriptor is taken for each line and given back: the program may
// have closed its stderr meanwhile, or put another file there, and nothing of it is held open. What cannot be written is
// counted. Thread-safe.
class ResidentLog final : public LogSink {
 public:
  explicit ResidentLog(std::string target) : target_(std::move(target)) {}
  void write(const LogRecord& record) noexcept override;
  // "vigil: <text>\n".
  void say(std::string_view text) noexcept;
  std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void write_line(std::string_view line) noexcept;

  const std::string target_;
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace vigil
