#include "tests/support/test_pki.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace vigil::test {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Free<X509_free>>;
using BioPtr = std::unique_ptr<BIO, Free<BIO_free_all>>;

constexpr long kYear = 365L * 24 * 3600;

std::string text_of(BIO* bio) {
  char* begin = nullptr;
  const long size = BIO_get_mem_data(bio, &begin);
  return {begin, static_cast<std::size_t>(size)};
}

void set_name(X509_NAME* name, const char* field, const std::string& value) {
  X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1, 0);
}

void add_extension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  if (extension == nullptr) throw std::runtime_error("bad extension " + value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

CertificatePtr unsigned_certificate(EVP_PKEY* key, const std::string& common_name, long serial,
                                    long from, long until) {
  CertificatePtr certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until);
  X509_set_pubkey(certificate.get(), key);
  set_name(X509_get_subject_name(certificate.get()), "O", "Vigil Tests");
  set_name(X509_get_subject_name(certificate.get()), "CN", common_name);
  return certificate;
}

std::string pem_of(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio.get());
}

}  // namespace

struct TestPki::Authority {
  KeyPtr key;
  CertificatePtr certificate;
  long serial = 1;
};

TestPki::TestPki() : authority_(new Authority) {
  char folder[] = "/tmp/vigil-pki-XXXXXX";
  if (::mkdtemp(folder) == nullptr) throw std::runtime_error("mkdtemp");
  folder_ = folder;
  authority_->key.reset(EVP_EC_gen("P-256"));
  EVP_PKEY* key = authority_->key.get();
  authority_->certificate = unsigned_certificate(key, "Test Authority", 1, -3600, kYear);
  X509* certificate = authority_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(certificate, key, EVP_sha256());
  write("ca.pem", pem_of(certificate));
}

TestPki::~TestPki() {
  delete authority_;
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string TestPki::write(const std::string& file, const std::string& content) const {
  const std::string path = folder_ + "/" + file;
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  return path;
}

TestCertificate TestPki::issue(const std::string& file, const std::string& common_name,
                               const std::vector<std::string>& dns_names, Validity validity) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const bool expired = validity == Validity::kExpired;
  const CertificatePtr certificate =
      unsigned_certificate(key.get(), common_name, ++authority_->serial,
                           expired ? -2 * kYear : -3600, expired ? -kYear : kYear);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(authority_->certificate.get()));
  std::string names;
  for (const std::string& name : dns_names) names += (names.empty() ? "DNS:" : ",DNS:") + name;
  if (!names.empty()) add_extension(certificate.get(), NID_subject_alt_name, names);
  X509_sign(certificate.get(), authority_->key.get(), EVP_sha256());
  return {write(file + ".pem", pem_of(certificate.get())), write(file + ".key", pem_of(key.get()))};
}

std::string read_whole_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace vigil::test
