#include "agent/demo/tls.h"

#include <chrono>
#include <utility>

namespace demo {
namespace {

using vigil::Error;
using vigil::ErrorCode;
using vigil::Result;

vigil::FlagSetter file_flag(std::vector<std::string>& files) {
  return [&files](std::string_view text) -> Result<void> {
    if (text.empty()) return Error(ErrorCode::kInvalidArgument, "not a file's name");
    files.emplace_back(text);
    return {};
  };
}

}  // namespace

void TlsFlags::add_to(vigil::FlagTable& flags) {
  flags.add("tls-cert", "FILE",
            "serve HTTPS with this chain (PEM). Several, each with its key: by server name",
            file_flag(certificates));
  flags.add("tls-key", "FILE", "the certificate's private key (PEM). SIGHUP reads them all again",
            file_flag(keys));
  flags.add("tls-client-ca", "FILE", "require client certificates by these authorities (PEM)",
            [this](std::string_view text) -> Result<void> {
              client_ca = text;
              return {};
            });
}

Result<std::shared_ptr<vigil::http::TlsContext>> TlsFlags::load(vigil::Clock& clock) const {
  if (!given()) return std::shared_ptr<vigil::http::TlsContext>();
  if (certificates.size() != keys.size() || certificates.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "each --tls-cert needs its --tls-key, in the same order");
  }
  vigil::http::TlsOptions options;
  options.alpn = alpn;
  for (std::size_t i = 0; i < certificates.size(); ++i) {
    options.certificates.push_back({certificates[i], keys[i]});
  }
  if (!client_ca.empty()) {
    options.client_certificates = vigil::http::ClientCertificates::kRequire;
    options.client_ca_file = client_ca;
  }
  return vigil::http::TlsContext::load(std::move(options), clock);
}

void reload(vigil::http::TlsContext& tls, const vigil::Logger& log) {
  if (const Result<void> reloaded = tls.reload(); !reloaded) {
    return log.error("certificates not reloaded, the old ones stay",
                     {{"reason", reloaded.error().message()}});
  }
  const auto left = tls.expires() - std::chrono::system_clock::now();
  log.info("certificates reloaded",
           {{"days_valid", std::chrono::duration_cast<std::chrono::hours>(left).count() / 24}});
}

}  // namespace demo
