#include "server-core/tls_ticket_keys.h"

#include <algorithm>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

namespace vigil::http {
namespace {

constexpr int kIvBytes = 16;

int set_mac(evp_mac_ctx_st* mac, std::array<unsigned char, 32>& key) {
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, params);
}

}  // namespace

// Sees to it that there is a key young enough to seal with. Under mutex_.
bool TlsTicketKeys::renew(MonotonicTime now) {
  if (previous_ && now - previous_->made >= 2 * kSealTime) previous_.reset();
  if (present_ && now - present_->made < kSealTime) return true;
  Key key{};
  if (RAND_bytes(key.name.data(), key.name.size()) != 1 ||
      RAND_priv_bytes(key.cipher.data(), key.cipher.size()) != 1 ||
      RAND_priv_bytes(key.mac.data(), key.mac.size()) != 1) {
    return false;
  }
  key.made = now;
  previous_ = present_;
  if (previous_ && now - previous_->made >= 2 * kSealTime) previous_.reset();
  present_ = key;
  return true;
}

int TlsTicketKeys::seal(unsigned char* name, unsigned char* iv, evp_cipher_ctx_st* cipher,
                        evp_mac_ctx_st* mac) {
  const std::lock_guard lock(mutex_);
  if (!renew(clock_.now()) || RAND_bytes(iv, kIvBytes) != 1) return -1;
  std::copy(present_->name.begin(), present_->name.end(), name);
  const bool ready =
      EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, present_->cipher.data(), iv) == 1 &&
      set_mac(mac, present_->mac) == 1;
  return ready ? 1 : -1;
}

int TlsTicketKeys::open(const unsigned char* name, const unsigned char* iv,
                        evp_cipher_ctx_st* cipher, evp_mac_ctx_st* mac) {
  const std::lock_guard lock(mutex_);
  if (!renew(clock_.now())) return -1;
  const auto named = [&](const std::optional<Key>& key) {
    return key && std::equal(key->name.begin(), key->name.end(), name);
  };
  std::optional<Key>* key = named(present_) ? &present_ : named(previous_) ? &previous_ : nullptr;
  if (key == nullptr) return 0;
  const bool ready =
      EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, (*key)->cipher.data(), iv) == 1 &&
      set_mac(mac, (*key)->mac) == 1;
  if (!ready) return -1;
  return key == &present_ ? 1 : 2;
}

}  // namespace vigil::http
