// Http2OutputBuffers: what connections of HTTP/2 put frames together in, for one send. A connection has
// one while something of it is not sent, and between two sends none: so connections that wait for their
// clients do not pay for it, nor does each send make one.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace vigil::http {

// Thread-safe.
class Http2OutputBuffers {
 public:
  // Frames are added until there are so many bytes; the last one may be of full size.
  static constexpr std::size_t kBytesMax = 32 * 1024;
  static constexpr std::size_t kFrameMax = 9 + 16 * 1024;
  // Kept for the next ones.
  static constexpr std::size_t kSpareMax = 16;

  Http2OutputBuffers() { spare_.reserve(kSpareMax); }

  // Empty, with room for kBytesMax and a frame.
  std::string take() {
    {
      const std::lock_guard lock(mutex_);
      if (!spare_.empty()) {
        std::string buffer = std::move(spare_.back());
        spare_.pop_back();
        return buffer;
      }
    }
    std::string buffer;
    buffer.reserve(kBytesMax + kFrameMax);
    return buffer;
  }

  // One that take() gave, or a string that never was one.
  void give_back(std::string buffer) {
    if (buffer.capacity() < kBytesMax) return;
    buffer.clear();
    const std::lock_guard lock(mutex_);
    if (spare_.size() < kSpareMax) spare_.push_back(std::move(buffer));
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> spare_;  // guarded by mutex_
};

}  // namespace vigil::http
