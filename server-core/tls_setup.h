// TlsSetup: one loading of a TlsContext's files, as OpenSSL wants it. What is behind tls.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/result.h"
#include "server-core/tls.h"
#include "server-core/tls_ticket_keys.h"

namespace vigil::http {

template <auto kFree>
struct OpenSslFree {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using SslContextPtr = std::unique_ptr<SSL_CTX, OpenSslFree<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, OpenSslFree<SSL_free>>;
using X509Ptr = std::unique_ptr<X509, OpenSslFree<X509_free>>;
using BioMethodPtr = std::unique_ptr<BIO_METHOD, OpenSslFree<BIO_meth_free>>;

// The reason of the first error in OpenSSL's queue of this thread, which it empties.
std::string take_openssl_error();

// Immutable once made. Outlives every SSL made from it: the channels hold it.
struct TlsSetup {
  // The errors of TlsContext::load(). `keys` must outlive the setup.
  static Result<std::shared_ptr<const TlsSetup>> make(const TlsOptions& options,
                                                      TlsTicketKeys& keys);

  // The context for a server name, in any case; the default's if none fits.
  SSL_CTX* context_for(std::string_view server_name) const;

  std::vector<SslContextPtr> contexts;           // one a certificate, in the options' order
  std::map<std::string, std::size_t> names;      // lower case -> index
  std::map<std::string, std::size_t> wildcards;  // "*.shop.org" as "shop.org" -> index
  std::string alpn;                              // as on the wire: each with its length before it
  WallTime expires = WallTime::max();            // the earliest
  BioMethodPtr socket_bio;                       // tls_channel.cc's
  TlsTicketKeys* keys = nullptr;
};

}  // namespace vigil::http
