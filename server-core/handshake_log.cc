#include "server-core/handshake_log.h"

#include <chrono>
#include <utility>

namespace vigil::http {

void HandshakeLog::report(const Logger& log, MonotonicTime now, const HostPort& remote,
                          std::string_view reason) {
  std::uint64_t suppressed = 0;
  {
    const std::lock_guard lock(mutex_);
    if (now - second_began_ >= std::chrono::seconds(1)) {
      second_began_ = now;
      records_ = 0;
    }
    if (records_ >= kRecordsASecond) {
      ++suppressed_;
      return;
    }
    ++records_;
    suppressed = std::exchange(suppressed_, 0);
  }
  log.warn("TLS handshake failed", {{"kind", "tls_handshake"},
                                    {"remote", format_host_port(remote)},
                                    {"reason", reason},
                                    {"suppressed", suppressed}});
}

}  // namespace vigil::http
