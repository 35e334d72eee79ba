// The demo's --tls-… flags, and what SIGHUP does with their files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/result.h"
#include "server-core/tls.h"

namespace demo {

struct TlsFlags {
  std::vector<std::string> certificates;
  std::vector<std::string> keys;
  std::string client_ca;
  std::vector<std::string> alpn = vigil::http::TlsOptions().alpn;

  void add_to(vigil::FlagTable& flags);
  bool given() const { return !certificates.empty() || !keys.empty() || !client_ca.empty(); }
  // The context that they describe; nullptr if none is given.
  vigil::Result<std::shared_ptr<vigil::http::TlsContext>> load(vigil::Clock& clock) const;
};

// Reads the files again and logs how that went.
void reload(vigil::http::TlsContext& tls, const vigil::Logger& log);

}  // namespace demo
