// TlsTicketKeys: the keys that session tickets are sealed with. Only this process has them, so a
// ticket is worth something as long as it runs.
//
// A key seals for kSealTime, and opens what it has sealed for as long again: what was recorded of a
// connection cannot be read with keys that are taken from the server a day later (TLS 1.2's tickets
// hold the connection's secret).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/clock.h"

struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;

namespace vigil::http {

// Thread-safe.
class TlsTicketKeys {
 public:
  static constexpr Duration kSealTime = std::chrono::hours(12);

  explicit TlsTicketKeys(Clock& clock) : clock_(clock) {}

  // OpenSSL's SSL_CTX_set_tlsext_ticket_key_evp_cb(3) with the keys at hand: to seal, fills in
  // `name` (16 bytes) and `iv`; returns 1. To open: 1, 2 (open it, but send a new one), 0 (not one
  // of ours, or too old: a full handshake), -1 on failure.
  int seal(unsigned char* name, unsigned char* iv, evp_cipher_ctx_st* cipher, evp_mac_ctx_st* mac);
  int open(const unsigned char* name, const unsigned char* iv, evp_cipher_ctx_st* cipher,
           evp_mac_ctx_st* mac);

 private:
  struct Key {
    std::array<unsigned char, 16> name;
    std::array<unsigned char, 32> cipher;
    std::array<unsigned char, 32> mac;
    MonotonicTime made;
  };

  bool renew(MonotonicTime now);

  Clock& clock_;
  std::mutex mutex_;
  std::optional<Key> present_;   // guarded by mutex_
  std::optional<Key> previous_;  // guarded by mutex_
};

}  // namespace vigil::http
