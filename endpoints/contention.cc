#include "endpoints/contention.h"

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/changes.h"
#include "endpoints/snapshots.h"
#include "sampler/contention_profiler.h"

namespace vigil::endpoints {
namespace {

using sampler::WaitView;

Result<sampler::StackProfile> take_waits(const Services& services, WaitView view) {
  if (services.contention == nullptr) {
    return Error(ErrorCode::kUnsupported, services.contention_absent);
  }
  return services.contention->waits(view);
}

Page show_rates(const Services& services) {
  return text_page(fmt::format("contention_ns={}\n", services.contention->rate().count()));
}

}  // namespace

Result<sampler::StackProfile> take_mutex(const PageRequest&, const Services& services) {
  return take_waits(services, WaitView::kMutex);
}

Result<sampler::StackProfile> take_mutex_holders(const PageRequest&, const Services& services) {
  return take_waits(services, WaitView::kMutexHolder);
}

Result<sampler::StackProfile> take_block(const PageRequest&, const Services& services) {
  return take_waits(services, WaitView::kBlock);
}

Result<sampler::StackProfile> take_threadcreate(const PageRequest&, const Services& services) {
  if (services.contention == nullptr) {
    return Error(ErrorCode::kUnsupported, services.contention_absent);
  }
  return services.contention->thread_creators();
}

Page mutex_page(const PageRequest& request, const Services& services) {
  const std::string_view by = request.query.get("by").value_or("waiter");
  if (by == "waiter") return snapshot_page_of(request, services, take_mutex);
  if (by == "holder") return snapshot_page_of(request, services, take_mutex_holders);
  return error_page(400, "invalid value for \"by\" - must be waiter or holder");
}

Page rates_page(const PageRequest& request, const Services& services) {
  if (services.contention == nullptr) return error_page(501, services.contention_absent);
  if (request.method != "POST") return show_rates(services);
  if (const auto allowed = may_change(request, services); !allowed) {
    return error_page(allowed.error());
  }
  const auto form = http::QueryParams::parse(request.body);
  const auto text = request.query.get("contention_ns");
  const auto rate = parse_integer(text ? *text : form.get("contention_ns").value_or(""), 0,
                                  Duration(sampler::kContentionRateMax).count());
  if (!rate) {
    return error_page(400, "invalid value for \"contention_ns\" - " + rate.error().message());
  }
  if (const auto set = services.contention->set_rate(Duration(*rate)); !set) {
    return error_page(set.error());
  }
  return show_rates(services);
}

}  // namespace vigil::endpoints
