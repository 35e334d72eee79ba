#include "server-core/tls_setup.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "server-core/tls_channel.h"

namespace vigil::http {
namespace {

using BioPtr = std::unique_ptr<BIO, OpenSslFree<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSslFree<EVP_PKEY_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpenSslFree<GENERAL_NAMES_free>>;

constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;
// How long a ticket is good for.
constexpr long kSessionSeconds =
    std::chrono::duration_cast<std::chrono::seconds>(TlsTicketKeys::kSealTime).count();

// With forward secrecy and authenticated encryption, the cheaper first; the least that HTTP/2 asks
// for too (RFC 9113 §9.2.2).
constexpr const char* kCiphers12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kCiphers13 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

Error invalid(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return result;
}

Result<std::string> read_file(const std::string& path) {
  std::unique_ptr<std::FILE, OpenSslFree<std::fclose>> file(std::fopen(path.c_str(), "rbe"));
  if (!file) return Error::from_errno(path, errno);
  std::string content;
  std::array<char, 16 * 1024> block;
  while (const std::size_t got = std::fread(block.data(), 1, block.size(), file.get())) {
    content.append(block.data(), got);
    if (content.size() > kFileBytesMax) return invalid(path + ": too long for a PEM file");
  }
  if (std::ferror(file.get())) return Error::from_errno(path, errno);
  return content;
}

BioPtr bio_of(const std::string& content) {
  return BioPtr(BIO_new_mem_buf(content.data(), static_cast<int>(content.size())));
}

// The certificates of a file, at least one.
Result<std::vector<X509Ptr>> read_certificates(const std::string& path) {
  Result<std::string> content = read_file(path);
  if (!content) return std::move(content).error();
  const BioPtr bio = bio_of(*content);
  std::vector<X509Ptr> certificates;
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string reason = take_openssl_error();
  if (!at_end) return invalid(path + ": a certificate in it is damaged: " + reason);
  if (certificates.empty()) return invalid(path + ": no certificate in it (PEM expected)");
  return certificates;
}

// Never asks on a terminal.
int refuse_password(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<KeyPtr> read_key(const std::string& path) {
  Result<std::string> content = read_file(path);
  if (!content) return std::move(content).error();
  const BioPtr bio = bio_of(*content);
  bool encrypted = false;
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_password, &encrypted));
  OPENSSL_cleanse(content->data(), content->size());
  const std::string reason = take_openssl_error();
  if (key) return key;
  if (encrypted) return invalid(path + ": the private key is encrypted; store it without password");
  return invalid(path + ": no private key in it (PEM expected): " + reason);
}

WallTime not_after(const X509* certificate) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return WallTime::max();
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

// The DNS names that a certificate is for.
std::vector<std::string> names_of(X509* certificate) {
  std::vector<std::string> names;
  const NamesPtr alternatives(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives.get(), i);
    if (name->type == GEN_DNS) names.push_back(lower(text_of(name->d.dNSName)));
  }
  if (alternatives) return names;
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) {
    names.push_back(lower(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)))));
  }
  return names;
}

Result<std::string> alpn_wire(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      return invalid("an ALPN protocol must have 1 to 255 bytes");
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  return wire;
}

// --- What OpenSSL asks while a handshake runs; `arg` is the TlsSetup.

int choose_certificate(SSL* ssl, int*, void* arg) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_SSL_CTX(ssl, static_cast<const TlsSetup*>(arg)->context_for(name));
  return SSL_TLSEXT_ERR_OK;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned int offered_size, void* arg) {
  const std::string& ours = static_cast<const TlsSetup*>(arg)->alpn;
  unsigned char* chosen = nullptr;  // in `ours`, then; never written through
  const int found =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned int>(ours.size()), offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
               EVP_MAC_CTX* mac, int seal) {
  TlsTicketKeys& keys = *TlsChannel::of(ssl).setup().keys;
  if (seal) return keys.seal(name, iv, cipher, mac);
  const int opened = keys.open(name, iv, cipher, mac);
  // A client uses a ticket of TLS 1.3 once (RFC 8446 §C.4): it gets another one.
  return opened == 1 && SSL_version(ssl) == TLS1_3_VERSION ? 2 : opened;
}

// --- One SSL_CTX.

Result<SslContextPtr> make_context(const TlsOptions& options, const TlsSetup& setup) {
  SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  if (!context) return Error(ErrorCode::kSystem, "SSL_CTX_new: " + take_openssl_error());
  SSL_CTX* ctx = context.get();
  SSL_CTX_set_min_proto_version(
      ctx, options.lowest_version == TlsVersion::kTls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(
      ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_cipher_list(ctx, kCiphers12);
  SSL_CTX_set_ciphersuites(ctx, kCiphers13);
  // Buffers only while there is something in them. The chain is what the file has: with the client
  // authorities at hand, OpenSSL would add those of them that fit.
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  // One system call a record instead of two.
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(ctx, kSessionSeconds);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
  auto* arg = const_cast<TlsSetup*>(&setup);
  // The macro SSL_CTX_set_tlsext_servername_callback(), without its C cast.
  SSL_CTX_callback_ctrl(ctx, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                        reinterpret_cast<void (*)()>(choose_certificate));
  SSL_CTX_set_tlsext_servername_arg(ctx, arg);
  if (!setup.alpn.empty()) SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, arg);
  return context;
}

Result<void> use_certificate(SSL_CTX* ctx, const TlsCertificate& files,
                             const std::vector<X509Ptr>& chain) {
  Result<KeyPtr> key = read_key(files.key_file);
  if (!key) return std::move(key).error();
  ERR_clear_error();
  if (SSL_CTX_use_certificate(ctx, chain.front().get()) != 1) {
    return invalid(files.chain_file + ": cannot be used: " + take_openssl_error());
  }
  if (SSL_CTX_use_PrivateKey(ctx, key->get()) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
    const std::string reason = take_openssl_error();
    return invalid(files.key_file + ": not the key of " + files.chain_file + ": " + reason);
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(ctx, chain[i].get()) != 1) {
      return invalid(files.chain_file + ": cannot be used: " + take_openssl_error());
    }
  }
  return {};
}

// Sessions are resumed only where a full handshake would have asked for the same: a ticket carries
// the client's certificate as it was verified then.
std::array<unsigned char, 32> session_scope(const TlsOptions& options, std::string_view ca_file) {
  std::string scope = std::to_string(static_cast<int>(options.client_certificates));
  scope.append(ca_file);
  std::array<unsigned char, 32> digest{};
  EVP_Digest(scope.data(), scope.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return digest;
}

Result<void> ask_for_certificates(SSL_CTX* ctx, const TlsOptions& options,
                                  const std::vector<X509Ptr>& authorities) {
  if (options.client_certificates == ClientCertificates::kNone) return {};
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  for (const X509Ptr& authority : authorities) {
    if (X509_STORE_add_cert(store, authority.get()) != 1 ||
        SSL_CTX_add_client_CA(ctx, authority.get()) != 1) {
      return invalid(options.client_ca_file + ": cannot be used: " + take_openssl_error());
    }
  }
  const bool require = options.client_certificates == ClientCertificates::kRequire;
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  return {};
}

Result<void> check(const TlsOptions& options) {
  if (options.certificates.empty()) return invalid("no certificate is given");
  const bool asks = options.client_certificates != ClientCertificates::kNone;
  if (asks && options.client_ca_file.empty()) {
    return invalid("client certificates are asked for, but no client_ca_file to verify them with");
  }
  if (!asks && !options.client_ca_file.empty()) {
    return invalid(options.client_ca_file +
                   ": means nothing, no client certificates are asked for");
  }
  return {};
}

void add_names(TlsSetup& setup, X509* certificate, std::size_t index) {
  for (const std::string& name : names_of(certificate)) {
    if (name.starts_with("*.")) {
      setup.wildcards.emplace(name.substr(2), index);
    } else {
      setup.names.emplace(name, index);
    }
  }
}

}  // namespace

std::string take_openssl_error() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  if (error == 0) return "no reason given";
  if (ERR_SYSTEM_ERROR(error)) return std::string(std::strerror(ERR_GET_REASON(error)));
  const char* reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "error " + std::to_string(error);
}

SSL_CTX* TlsSetup::context_for(std::string_view server_name) const {
  std::string name = lower(server_name);
  if (name.ends_with('.')) name.pop_back();
  if (const auto found = names.find(name); found != names.end()) {
    return contexts[found->second].get();
  }
  const std::size_t dot = name.find('.');
  if (dot != std::string::npos && dot > 0) {
    const auto found = wildcards.find(name.substr(dot + 1));
    if (found != wildcards.end()) return contexts[found->second].get();
  }
  return contexts.front().get();
}

Result<std::shared_ptr<const TlsSetup>> TlsSetup::make(const TlsOptions& options,
                                                       TlsTicketKeys& keys) {
  if (Result<void> ok = check(options); !ok) return std::move(ok).error();
  auto setup = std::make_shared<TlsSetup>();
  setup->keys = &keys;
  setup->socket_bio = TlsChannel::make_bio_method();
  Result<std::string> alpn = alpn_wire(options.alpn);
  if (!alpn) return std::move(alpn).error();
  setup->alpn = *std::move(alpn);

  std::vector<X509Ptr> authorities;
  std::string ca_content;
  if (!options.client_ca_file.empty()) {
    Result<std::vector<X509Ptr>> read = read_certificates(options.client_ca_file);
    if (!read) return std::move(read).error();
    authorities = *std::move(read);
    for (const X509Ptr& authority : authorities) {
      unsigned char digest[EVP_MAX_MD_SIZE];
      unsigned int size = 0;
      X509_digest(authority.get(), EVP_sha256(), digest, &size);
      ca_content.append(reinterpret_cast<const char*>(digest), size);
    }
  }
  const std::array<unsigned char, 32> scope = session_scope(options, ca_content);
  for (const TlsCertificate& files : options.certificates) {
    Result<std::vector<X509Ptr>> chain = read_certificates(files.chain_file);
    if (!chain) return std::move(chain).error();
    Result<SslContextPtr> context = make_context(options, *setup);
    if (!context) return std::move(context).error();
    if (auto ok = use_certificate(context->get(), files, *chain); !ok) return std::move(ok).error();
    if (auto ok = ask_for_certificates(context->get(), options, authorities); !ok) {
      return std::move(ok).error();
    }
    SSL_CTX_set_session_id_context(context->get(), scope.data(), scope.size());
    add_names(*setup, chain->front().get(), setup->contexts.size());
    setup->expires = std::min(setup->expires, not_after(chain->front().get()));
    setup->contexts.push_back(*std::move(context));
  }
  return std::shared_ptr<const TlsSetup>(std::move(setup));
}

}  // namespace vigil::http
