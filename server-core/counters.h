// Counters that cost a load and a store: each engine thread has its own set, a reader adds them up.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace vigil::http {

enum class Counter : std::uint8_t {
  // Gauges, by ConnectionState: may be negative in one thread, right in the sum.
  kStateHandshaking,
  kStateNew,
  kStateReadingHead,
  kStateReadingBody,
  kStateHandling,
  kStateQueued,
  kStateFlushing,
  kStateDiscarding,
  kStateIdle,
  kStateLingering,
  kStateMultiplexed,
  kAccepted,
  kAcceptErrors,
  kRequests,
  kStatus0,
  kStatus1xx,
  kStatus2xx,
  kStatus3xx,
  kStatus4xx,
  kStatus5xx,
  kBadRequests,
  kHandlerExceptions,
  kTimeoutReadHeader,
  kTimeoutRead,
  kTimeoutWrite,
  kTimeoutIdle,
  kTlsHandshakes,
  kTlsResumed,
  kTlsFailures,
  kTlsTimeouts,
  kTlsAbandoned,
  kLimitConnections,
  kLimitPerIp,
  kLimitInFlight,
  kLimitThreads,
  kLimitDescriptors,
  kLimitFilters,
  kLimitPeerUser,
  kAcceptPauses,
  kQueued,
  kQueueTimeouts,
  kQueueAbandoned,
  kQueueWaitNs,
  kOutOfMemory,
  kBytesReceived,
  kBytesSent,
  kRanInline,
  kRanHandedOver,
  kRescued,
  kHeadersRefused,
  kHeadersLate,
  kHijacked,
  kMoved,
  kDrained,
  kClosedIdle,
  kForced,
  kHttp2Handling,  // a gauge: streams in handlers
  kHttp2Connections,
  kHttp2Requests,
  kHttp2PingTimeouts,
  kHttp2Abuse,  // the first of as many as Http2Abuse has kinds
  kHttp2AbuseLast = kHttp2Abuse + 11,
  kCount
};

// Written by one thread, read by any.
class CounterSet {
 public:
  void add(Counter counter, std::int64_t n = 1) {
    std::atomic<std::int64_t>& value = values_[static_cast<std::size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::int64_t get(Counter counter) const {
    return values_[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
  }

 private:
  alignas(64)
      std::array<std::atomic<std::int64_t>, static_cast<std::size_t>(Counter::kCount)> values_{};
};

}  // namespace vigil::http
