#include "server-core/tls.h"

#include <utility>

#include "server-core/tls_setup.h"
#include "server-core/tls_ticket_keys.h"

namespace vigil::http {

Result<std::shared_ptr<TlsContext>> TlsContext::load(TlsOptions options, Clock& clock) {
  auto keys = std::make_unique<TlsTicketKeys>(clock);
  auto setup = TlsSetup::make(options, *keys);
  if (!setup) return std::move(setup).error().with_context("TLS");
  std::shared_ptr<TlsContext> context(new TlsContext(std::move(options), std::move(keys)));
  context->setup_ = *std::move(setup);
  return context;
}

TlsContext::TlsContext(TlsOptions options, std::unique_ptr<TlsTicketKeys> keys)
    : options_(std::move(options)), keys_(std::move(keys)) {}

TlsContext::~TlsContext() = default;

Result<void> TlsContext::reload() {
  auto fresh = TlsSetup::make(options_, *keys_);
  if (!fresh) return std::move(fresh).error().with_context("TLS");
  std::shared_ptr<const TlsSetup> setup = *std::move(fresh);
  const std::lock_guard lock(mutex_);
  setup_.swap(setup);  // the old one goes behind the lock
  return {};
}

WallTime TlsContext::expires() const { return setup()->expires; }

std::shared_ptr<const TlsSetup> TlsContext::setup() const {
  const std::lock_guard lock(mutex_);
  return setup_;
}

}  // namespace vigil::http
