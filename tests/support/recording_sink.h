// A log sink that keeps every record as its JSON line, for tests.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"

namespace vigil {

class RecordingSink final : public LogSink {
 public:
  void write(const LogRecord& record) noexcept override {
    std::lock_guard lock(mutex_);
    lines_.push_back(to_json_line(record));
  }
  std::vector<std::string> lines() const {
    std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;  // guarded by mutex_
};

}  // namespace vigil
