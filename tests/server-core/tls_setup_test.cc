// Loading TLS's files, and the keys of its tickets.
#include "server-core/tls_setup.h"

#include <array>
#include <chrono>
#include <string>

#include <openssl/evp.h>

#include "base/fake_clock.h"
#include "server-core/tls.h"
#include "server-core/tls_ticket_keys.h"
#include "tests/support/catch.h"
#include "tests/support/test_pki.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

std::string error_of(TlsOptions options, ErrorCode code = ErrorCode::kInvalidArgument) {
  SystemClock clock;
  const auto loaded = TlsContext::load(std::move(options), clock);
  if (loaded) return "loaded";
  CHECK(loaded.error().code() == code);
  return loaded.error().message();
}

struct Seal {
  std::array<unsigned char, 16> name{};
  std::array<unsigned char, 16> iv{};
};

struct Contexts {
  EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
  EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  EVP_MAC_CTX* mac = EVP_MAC_CTX_new(hmac);
  ~Contexts() {
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(hmac);
  }
};

Seal seal(TlsTicketKeys& keys) {
  Seal made;
  Contexts contexts;
  REQUIRE(keys.seal(made.name.data(), made.iv.data(), contexts.cipher, contexts.mac) == 1);
  return made;
}

int open(TlsTicketKeys& keys, const Seal& sealed) {
  Contexts contexts;
  return keys.open(sealed.name.data(), sealed.iv.data(), contexts.cipher, contexts.mac);
}

}  // namespace

TEST_CASE("TLS: what is wrong with a file is said with its name") {
  TestPki pki;
  const TestCertificate good = pki.issue("good", "good.test");
  const TestCertificate other = pki.issue("other", "other.test");
  const std::string here = pki.folder() + "/";
  const auto with = [&](const std::string& chain, const std::string& key) {
    return TlsOptions{.certificates = {{chain, key}}};
  };
  CHECK(error_of(with(good.chain_file, good.key_file)) == "loaded");
  CHECK(error_of(with(here + "none.pem", good.key_file), ErrorCode::kNotFound) ==
        "TLS: " + here + "none.pem: No such file or directory");
  CHECK(error_of(with(good.chain_file, here + "none.key"), ErrorCode::kNotFound) ==
        "TLS: " + here + "none.key: No such file or directory");
  CHECK(error_of(with(pki.folder(), good.key_file), ErrorCode::kSystem) ==
        "TLS: " + pki.folder() + ": Is a directory");
  CHECK(error_of(with(pki.write("empty.pem", ""), good.key_file)) ==
        "TLS: " + here + "empty.pem: no certificate in it (PEM expected)");
  CHECK(error_of(with(good.key_file, good.key_file)) ==
        "TLS: " + here + "good.key: no certificate in it (PEM expected)");
  const std::string pem = read_whole_file(good.chain_file);
  CHECK(error_of(with(pki.write("cut.pem", pem.substr(0, pem.size() / 2)), good.key_file))
            .starts_with("TLS: " + here + "cut.pem: a certificate in it is damaged"));
  CHECK(error_of(with(pki.write("twice.pem", pem + pem.substr(0, 200)), good.key_file))
            .starts_with("TLS: " + here + "twice.pem: a certificate in it is damaged"));
  CHECK(error_of(with(good.chain_file, good.chain_file))
            .starts_with("TLS: " + here + "good.pem: no private key in it (PEM expected)"));
  CHECK(error_of(with(good.chain_file, other.key_file))
            .starts_with("TLS: " + here + "other.key: not the key of " + here + "good.pem"));
  CHECK(error_of(with(pki.write("zeros.pem", std::string(5 << 20, '0')), good.key_file)) ==
        "TLS: " + here + "zeros.pem: too long for a PEM file");

  const std::string encrypted =
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
      "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjAHyVqSkhZLQICCAAw\n"
      "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDhX9wxmGrpXxPxCXl5l0pQEgZDj\n"
      "-----END ENCRYPTED PRIVATE KEY-----\n";
  CHECK(error_of(with(good.chain_file, pki.write("secret.key", encrypted)))
            .starts_with("TLS: " + here + "secret.key: "));
}

TEST_CASE("TLS: options that cannot mean anything are refused") {
  TestPki pki;
  const TestCertificate good = pki.issue("good", "good.test");
  TlsOptions options{.certificates = {{good.chain_file, good.key_file}}};
  CHECK(error_of({}) == "TLS: no certificate is given");
  TlsOptions bad = options;
  bad.client_certificates = ClientCertificates::kRequire;
  CHECK(error_of(bad).find("no client_ca_file") != std::string::npos);
  bad.client_ca_file = good.key_file;
  CHECK(error_of(bad) == "TLS: " + good.key_file + ": no certificate in it (PEM expected)");
  bad.client_certificates = ClientCertificates::kNone;
  CHECK(error_of(bad).find("means nothing") != std::string::npos);
  bad = options;
  bad.alpn = {""};
  CHECK(error_of(bad) == "TLS: an ALPN protocol must have 1 to 255 bytes");
}

TEST_CASE("TLS: the first certificate that fits a name is its own") {
  TestPki pki;
  const auto files = [&](const TestCertificate& made) {
    return TlsCertificate{made.chain_file, made.key_file};
  };
  SystemClock clock;
  TlsTicketKeys keys(clock);
  const TlsOptions options{
      .certificates = {files(pki.issue("a", "by-common-name.test")),
                       files(pki.issue("b", "unused.test", {"b.test", "*.star.test"})),
                       files(pki.issue("c", "c", {"B.test", "x.star.test", "*.b.test"}))}};
  const auto setup = TlsSetup::make(options, keys);
  REQUIRE(setup.ok());
  const auto index_for = [&](std::string_view name) {
    SSL_CTX* found = (*setup)->context_for(name);
    std::size_t index = 0;
    while ((*setup)->contexts[index].get() != found) ++index;
    return index;
  };
  CHECK(index_for("by-common-name.test") == 0);
  CHECK(index_for("unused.test") == 0);  // alternative names hide the common one; the default
  CHECK(index_for("b.test") == 1);
  CHECK(index_for("B.TEST.") == 1);
  CHECK(index_for("y.star.test") == 1);
  CHECK(index_for("x.star.test") == 2);  // a whole name goes before a star
  CHECK(index_for("star.test") == 0);
  CHECK(index_for(".star.test") == 0);
  CHECK(index_for("z.b.test") == 2);
  CHECK(index_for("") == 0);
  CHECK(index_for(".") == 0);
}

TEST_CASE("TLS: a ticket's key seals for 12 hours and opens for 12 more") {
  FakeClock clock;
  TlsTicketKeys keys(clock);
  const Seal first = seal(keys);
  CHECK(open(keys, first) == 1);
  clock.advance(TlsTicketKeys::kSealTime - 1ns);
  CHECK(seal(keys).name == first.name);
  CHECK(open(keys, first) == 1);
  clock.advance(1ns);
  const Seal second = seal(keys);
  CHECK(second.name != first.name);
  CHECK(open(keys, second) == 1);
  CHECK(open(keys, first) == 2);  // opened, and the client gets a new one
  clock.advance(TlsTicketKeys::kSealTime - 1ns);
  CHECK(open(keys, first) == 2);
  clock.advance(1ns);
  CHECK(open(keys, first) == 0);
  CHECK(open(keys, second) == 2);

  TlsTicketKeys others(clock);
  CHECK(open(others, second) == 0);
}
