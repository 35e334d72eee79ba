// The Date header's value, made once a second.
#pragma once

#include <array>
#include <string_view>

#include "base/clock.h"

namespace vigil::http {

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7) for the second of `time`. Pure.
std::array<char, 29> format_http_date(WallTime time);

// Not thread-safe: each engine thread has one. A jump of the wall clock shows within a second.
class DateCache {
 public:
  // `now` is clock.now(), which the caller has at hand. Valid until the next call.
  std::string_view get(Clock& clock, MonotonicTime now) {
    if (now >= valid_until_) refresh(clock, now);
    return {text_.data(), text_.size()};
  }

 private:
  void refresh(Clock& clock, MonotonicTime now);

  MonotonicTime valid_until_ = MonotonicTime::min();
  std::array<char, 29> text_{};
};

}  // namespace vigil::http
