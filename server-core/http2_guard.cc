#include "server-core/http2_guard.h"

#include <algorithm>

namespace vigil::http {

std::string_view http2_abuse_name(Http2Abuse kind) {
  static constexpr std::string_view kNames[] = {"rapid_reset", "provoked_reset", "continuation",
                                                "settings",    "ping",           "empty_data",
                                                "priority",    "window_update",  "window_overflow",
                                                "header_list", "header_bomb",    "unread"};
  static_assert(std::size(kNames) == kHttp2AbuseKinds);
  return kNames[static_cast<std::size_t>(kind)];
}

Http2Guard::Http2Guard(MonotonicTime now, const Rates& rates) {
  bucket(Http2Abuse::kRapidReset).rate = rates.rapid_reset;
  bucket(Http2Abuse::kProvokedReset).rate = rates.provoked_reset;
  bucket(Http2Abuse::kSettings).rate = rates.settings;
  bucket(Http2Abuse::kPing).rate = rates.ping;
  bucket(Http2Abuse::kEmptyData).rate = rates.empty_data;
  bucket(Http2Abuse::kPriority).rate = rates.priority;
  bucket(Http2Abuse::kWindowUpdate).rate = rates.window_update;
  bucket(Http2Abuse::kHeaderList).rate = rates.header_list;
  for (Bucket& each : buckets_) {
    each.tokens = each.rate.burst * kToken;
    each.filled = now;
  }
}

bool Http2Guard::count(Http2Abuse kind, MonotonicTime now) {
  Bucket& its = bucket(kind);
  if (its.rate.burst == 0) return false;
  const std::uint64_t full = its.rate.burst * kToken;
  if (its.tokens < full) {
    // A day fills every bucket, and its product cannot overflow.
    constexpr Duration kDay = std::chrono::hours(24);
    const auto elapsed = std::chrono::duration_cast<std::chrono::microseconds>(
        std::clamp(now - its.filled, Duration(0), kDay));
    its.tokens = std::min(
        full, its.tokens + static_cast<std::uint64_t>(elapsed.count()) * its.rate.per_second);
  }
  its.filled = now;
  if (its.tokens < kToken) {
    note(kind);
    return true;
  }
  its.tokens -= kToken;
  return false;
}

void Http2Guard::credit(Http2Abuse kind, std::uint32_t n) {
  Bucket& its = bucket(kind);
  its.tokens = std::min(its.rate.burst * kToken, its.tokens + n * kToken);
}

}  // namespace vigil::http
