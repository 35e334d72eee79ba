// TLS: what a server needs to be an HTTPS server.
//
//   TlsOptions options;
//   options.certificates = {{"/etc/tls/shop.pem", "/etc/tls/shop.key"},        // the default one
//                           {"/etc/tls/api.pem", "/etc/tls/api.key"}};         // by server name
//   auto tls = TlsContext::load(options, clock);
//   if (!tls) return std::move(tls).error();          // names the file, and what is wrong with it
//   server_options.tls = *tls;
//   …
//   if (auto ok = (*tls)->reload(); !ok) log(ok.error());   // new certificates; the old ones stay
//                                                           // in use if the new are no good
//
// What cannot be set, because there is one good answer: nothing older than TLS 1.2; in 1.2 only
// ciphers with forward secrecy and authenticated encryption, in the server's order; no compression,
// no renegotiation, no early data; resumption by tickets alone, whose keys are kept in memory,
// changed every 12 hours and kept across reload(). docs/tls.md is the operator's page.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace vigil::http {

struct TlsSetup;
class TlsTicketKeys;

// Both are PEM files.
struct TlsCertificate {
  std::string chain_file;  // the server's certificate first, then the intermediate ones
  std::string key_file;    // its private key, not encrypted
};

enum class ClientCertificates : std::uint8_t {
  kNone,     // not asked for
  kRequest,  // asked for; one that is given must verify
  kRequire,  // a handshake without a certificate that verifies fails
};

enum class TlsVersion : std::uint8_t { kTls12, kTls13 };

struct TlsOptions {
  // At least one. A connection gets the first one whose names (subjectAltName, or the common name
  // where it has none) fit the server name that the client asks for; "*" stands for one label. None
  // fits, or no name is given: the first.
  std::vector<TlsCertificate> certificates;

  ClientCertificates client_certificates = ClientCertificates::kNone;
  // PEM file with the authorities that client certificates are verified against. Must be set unless
  // none are asked for.
  std::string client_ca_file;

  TlsVersion lowest_version = TlsVersion::kTls12;

  // From accept to the handshake's end. 0: the shortest of the server's read_header, read and write
  // timeouts. Negative: none.
  Duration handshake_timeout{0};

  // The protocols that ALPN may choose, ours first. A client that offers ALPN and none of these is
  // refused (no_application_protocol); one without ALPN gets HTTP/1.1. Empty: ALPN is ignored.
  std::vector<std::string> alpn = {"h2", "http/1.1"};
};

// What was agreed upon with one client.
struct TlsInfo {
  std::string version;      // "TLSv1.2", "TLSv1.3"
  std::string cipher;       // OpenSSL's name of it
  std::string protocol;     // by ALPN; empty if the client did not offer it
  std::string server_name;  // that the client asked for; empty if it did not. Not checked.
  // Of the client's certificate, which was verified: RFC 2253, "CN=alice,O=Shop". Empty: none.
  std::string client_subject;
  enum class Handshake : std::uint8_t { kFull, kResumed } handshake = Handshake::kFull;
};

// Certificates, keys and settings, loaded. One may serve several servers. Thread-safe.
class TlsContext {
 public:
  // Reads all files. `clock` must outlive the context.
  //   not_found, permission_denied, system   a file cannot be read
  //   invalid_argument   a file is not what it should be, key and certificate do not belong
  //                      together, or an option cannot mean anything
  // The message names the file.
  static Result<std::shared_ptr<TlsContext>> load(TlsOptions options, Clock& clock);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Reads the same files again, for handshakes that begin from now on. Connections go on with what
  // they have. The errors of load(): then nothing has changed. Blocks for file I/O.
  Result<void> reload();

  const TlsOptions& options() const { return options_; }
  // When the first of the certificates in use ends to be valid.
  WallTime expires() const;

  // For the engine.
  std::shared_ptr<const TlsSetup> setup() const;

 private:
  TlsContext(TlsOptions options, std::unique_ptr<TlsTicketKeys> keys);

  const TlsOptions options_;
  const std::unique_ptr<TlsTicketKeys> keys_;
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsSetup> setup_;  // guarded by mutex_
};

}  // namespace vigil::http
