// Http2Guard: notices a peer that uses HTTP/2 to make the server work for nothing, and says when
// its connection must end.
//
//   Http2Guard guard(now);
//   if (guard.count(Http2Abuse::kPing, now)) session.terminate(ENHANCE_YOUR_CALM);
//
// Model. Each kind of event has a bucket of tokens: `burst` when the connection begins, `per_second`
// more each second up to `burst`. An event takes one; the event that finds the bucket empty is
// abuse. What honest clients do stays below: a browser that leaves a page resets the streams of its
// images (some hundreds at once), gRPC sends a PING for each few frames of data, and a download
// brings a WINDOW_UPDATE or two for each DATA frame, which is why credit() exists. Pure.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace vigil::http {

// What a connection was ended for, or a stream refused; in the order of ServerStats::Http2::abuse.
enum class Http2Abuse : std::uint8_t {
  kRapidReset,      // streams opened and reset by the client (CVE-2023-44487)
  kProvokedReset,   // streams that the client made us reset (MadeYouReset, CVE-2025-8671)
  kContinuation,    // a header block in very many CONTINUATION frames (CVE-2024-28182)
  kSettings,        // SETTINGS frames (CVE-2019-9515)
  kPing,            // PING frames (CVE-2019-9512)
  kEmptyData,       // DATA frames without data or end (CVE-2019-9518)
  kPriority,        // PRIORITY frames (CVE-2019-9513)
  kWindowUpdate,    // WINDOW_UPDATE frames that no sent data explains
  kWindowOverflow,  // a window made larger than 2^31-1: counted, RFC 9113 §6.9.1 ends it
  kHeaderList,      // a header list over max_header_bytes: the stream gets 431
  kHeaderBomb,      // a header list that is many times max_header_bytes (HPACK bomb)
  kUnread,          // answers (PING, SETTINGS, RST_STREAM) that the peer provokes and does not read
  kCount
};
inline constexpr std::size_t kHttp2AbuseKinds = static_cast<std::size_t>(Http2Abuse::kCount);

// "rapid_reset", …: as in /metrics.
std::string_view http2_abuse_name(Http2Abuse kind);

class Http2Guard {
 public:
  struct Rate {
    std::uint32_t burst = 0;       // 0: any number
    std::uint32_t per_second = 0;  // at most 1,000,000
  };
  // All of a connection.
  struct Rates {
    Rate rapid_reset{500, 50};
    Rate provoked_reset{200, 10};
    Rate settings{100, 10};
    Rate ping{1000, 100};
    Rate empty_data{200, 20};
    Rate priority{1000, 100};
    Rate window_update{2000, 200};
    Rate header_list{100, 10};
  };
  // WINDOW_UPDATE frames that each DATA frame which we send explains.
  static constexpr std::uint32_t kWindowUpdatesPerData = 10;

  explicit Http2Guard(MonotonicTime now, const Rates& rates);

  // One event. true: too many of its kind; the connection should end, and it is noted in abuse().
  [[nodiscard]] bool count(Http2Abuse kind, MonotonicTime now);
  // `n` more events of the kind are explained.
  void credit(Http2Abuse kind, std::uint32_t n);
  // Abuse that is seen by itself. The first kind stays.
  void note(Http2Abuse kind) {
    if (!abuse_) abuse_ = kind;
  }

  // What the connection must end for.
  std::optional<Http2Abuse> abuse() const { return abuse_; }

 private:
  struct Bucket {
    Rate rate;
    std::uint64_t tokens = 0;  // in millionths
    MonotonicTime filled{};
  };
  static constexpr std::uint64_t kToken = 1'000'000;

  Bucket& bucket(Http2Abuse kind) { return buckets_[static_cast<std::size_t>(kind)]; }

  std::array<Bucket, kHttp2AbuseKinds> buckets_;
  std::optional<Http2Abuse> abuse_;
};

}  // namespace vigil::http
