// TlsClient: a RawClient over TLS. What is between TLS and the socket is in the test's hand, so it
// can drip a handshake, or end a connection without saying so.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/ssl.h>

#include "tests/support/raw_client.h"
#include "tests/support/test_pki.h"

namespace vigil::test {

struct TlsClientOptions {
  std::string server_name = {};
  std::vector<std::string> alpn = {};
  std::string authority_file = {};  // empty: the server's certificate is not looked at
  TestCertificate certificate = {};
  int version_min = 0;         // TLS1_2_VERSION, …
  int version_max = 0;         // 0: whatever the library has
  std::string ciphers12 = {};  // OpenSSL's list
  SSL_SESSION* session = nullptr;
  int receive_buffer_bytes = 0;  // of the socket; 0: the system's
  std::size_t drip = 0;          // bytes in one send during the handshake; 0: all at once
};

class TlsClient final : public RawClient {
 public:
  using Options = TlsClientOptions;

  // Connects and shakes hands; shaken() tells whether that went well.
  explicit TlsClient(const HostPort& server, Options options = {});
  ~TlsClient() override;

  bool shaken() const { return shaken_; }
  // OpenSSL's reason if not, such as the alert that came.
  const std::string& error() const { return error_; }
  std::string version() const { return SSL_get_version(ssl_.get()); }
  std::string cipher() const { return SSL_get_cipher_name(ssl_.get()); }
  std::string protocol() const;
  // The common name of the server's certificate.
  std::string server_common_name() const;
  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  // The last one that the server gave, or that was resumed; owned by the client.
  SSL_SESSION* session() const { return session_ ? session_.get() : SSL_get0_session(ssl_.get()); }
  // Whether the server said that it sends no more, after the end was seen.
  bool said_end() const { return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  // Says that this side sends no more, and leaves the socket open.
  void say_end();
  // Asks the server to change its keys, and changes ours (TLS 1.3).
  void update_keys();

  bool send(std::string_view bytes) override;

 private:
  template <auto kFree>
  struct Free {
    template <typename T>
    void operator()(T* object) const {
      kFree(object);
    }
  };

  bool receive_into(std::string& out, std::chrono::milliseconds limit) override;
  bool shake();
  bool flush(std::size_t drip = 0);
  static int on_session(SSL* ssl, SSL_SESSION* session);

  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, Free<SSL_free>> ssl_;
  std::unique_ptr<SSL_SESSION, Free<SSL_SESSION_free>> session_;
  std::size_t drip_ = 0;
  bool shaken_ = false;
  std::string error_;
};

}  // namespace vigil::test
