#include "tests/support/tls_client.h"

#include <array>

#include <openssl/err.h>
#include <openssl/x509.h>

namespace vigil::test {
namespace {

std::string take_error() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  return reason == nullptr ? "no reason" : reason;
}

}  // namespace

TlsClient::TlsClient(const HostPort& server, Options options)
    : RawClient(server, options.receive_buffer_bytes),
      context_(SSL_CTX_new(TLS_client_method())),
      drip_(options.drip) {
  SSL_CTX* context = context_.get();
  // So that what a test offers is what it says, whatever the system's policy.
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_min_proto_version(context, options.version_min);
  SSL_CTX_set_max_proto_version(context, options.version_max);
  if (!options.ciphers12.empty()) SSL_CTX_set_cipher_list(context, options.ciphers12.c_str());
  if (!options.authority_file.empty()) {
    SSL_CTX_load_verify_locations(context, options.authority_file.c_str(), nullptr);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  if (!options.certificate.chain_file.empty()) {
    SSL_CTX_use_certificate_chain_file(context, options.certificate.chain_file.c_str());
    SSL_CTX_use_PrivateKey_file(context, options.certificate.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, on_session);
  std::string wire;
  for (const std::string& name : options.alpn) wire += static_cast<char>(name.size()) + name;

  ssl_.reset(SSL_new(context));
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_.get());
  if (!options.server_name.empty()) {
    // The macro SSL_set_tlsext_host_name(), without its C cast.
    SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
             options.server_name.data());
  }
  if (!wire.empty()) {
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(wire.data()),
                        static_cast<unsigned int>(wire.size()));
  }
  if (options.session != nullptr) SSL_set_session(ssl_.get(), options.session);
  shaken_ = connected() && shake();
}

TlsClient::~TlsClient() {
  // Or OpenSSL takes the session for a failed one, and does not use its ticket again.
  SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

int TlsClient::on_session(SSL* ssl, SSL_SESSION* session) {
  static_cast<TlsClient*>(SSL_get_app_data(ssl))->session_.reset(session);
  return 1;
}

bool TlsClient::shake() {
  while (true) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    const int error = SSL_get_error(ssl_.get(), result);
    if (result != 1 && error != SSL_ERROR_WANT_READ) error_ = take_error();
    const bool sent = flush(drip_);
    if (result == 1) return sent;
    std::string bytes;
    if (error != SSL_ERROR_WANT_READ || !receive_raw(bytes, kLimit)) {
      if (error_.empty()) error_ = ended() ? "closed" : "silent";
      return false;
    }
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
  }
}

bool TlsClient::flush(std::size_t drip) {
  BIO* out = SSL_get_wbio(ssl_.get());
  std::array<char, 16 * 1024> bytes;
  int size;
  while ((size = BIO_read(out, bytes.data(), static_cast<int>(bytes.size()))) > 0) {
    std::string_view rest(bytes.data(), static_cast<std::size_t>(size));
    while (!rest.empty()) {
      const std::string_view part = drip == 0 ? rest : rest.substr(0, drip);
      if (!send_raw(part)) return false;
      rest.remove_prefix(part.size());
    }
  }
  return true;
}

bool TlsClient::send(std::string_view bytes) {
  ERR_clear_error();
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0 && flush();
}

bool TlsClient::receive_into(std::string& out, std::chrono::milliseconds limit) {
  std::array<char, 16 * 1024> bytes;
  while (true) {
    ERR_clear_error();
    const int got = SSL_read(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    (void)flush();
    if (got > 0) {
      out.append(bytes.data(), static_cast<std::size_t>(got));
      return true;
    }
    if (SSL_get_error(ssl_.get(), got) != SSL_ERROR_WANT_READ) {
      error_ = take_error();
      set_ended();
      return false;
    }
    std::string raw;
    if (!receive_raw(raw, limit)) return false;
    BIO_write(SSL_get_rbio(ssl_.get()), raw.data(), static_cast<int>(raw.size()));
  }
}

void TlsClient::say_end() {
  (void)SSL_shutdown(ssl_.get());
  (void)flush();
}

void TlsClient::update_keys() {
  (void)SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED);
  (void)SSL_do_handshake(ssl_.get());
  (void)flush();
}

std::string TlsClient::protocol() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsClient::server_common_name() const {
  X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr) return "";
  std::array<char, 256> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(),
                            name.size());
  return name.data();
}

}  // namespace vigil::test
