// HandshakeLog: says which TLS handshakes failed, without letting a scanner fill the log.
//
// Records are warnings of the server's log with the attribute kind=tls_handshake (a LogRule can
// hold them back by it), one a failed connection:
//
//   {"level":"warn","source":"server","msg":"TLS handshake failed","kind":"tls_handshake",
//    "remote":"192.0.2.7:40312","reason":"no shared cipher","suppressed":0}
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

namespace vigil::http {

// Thread-safe.
class HandshakeLog {
 public:
  // Records in one second; `suppressed` of the next second's first one counts the rest.
  static constexpr int kRecordsASecond = 5;

  void report(const Logger& log, MonotonicTime now, const HostPort& remote,
              std::string_view reason);

 private:
  std::mutex mutex_;
  // All guarded by mutex_.
  MonotonicTime second_began_{};
  int records_ = 0;
  std::uint64_t suppressed_ = 0;
};

}  // namespace vigil::http
