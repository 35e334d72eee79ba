#include "server-core/context.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace vigil::http {

// A stop of its own, linked to what stops it. The links are made once the object is in its place,
// and go before the source.
struct Context::Stop : Node {
  explicit Stop(std::shared_ptr<const Node> parent_node) : Node(std::move(parent_node), nullptr) {}

  struct PassOn {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };
  using Link = std::stop_callback<PassOn>;

  std::stop_source source;
  std::optional<Link> parent_link;
  std::optional<Link> other_link;
  DeadlineTimer::Entry timer;
};

Context Context::with_deadline(MonotonicTime deadline) const {
  Context derived = *this;
  derived.deadline_ = std::min(deadline_, deadline);
  if (!timer_ || deadline == kNoDeadline) return derived;
  auto stop = std::make_shared<Stop>(node_);
  stop->parent_link.emplace(token_, Stop::PassOn{stop->source});
  stop->timer = timer_->at(deadline, Stop::PassOn{stop->source});
  derived.token_ = stop->source.get_token();
  derived.node_ = std::move(stop);
  return derived;
}

Context Context::with_stop(std::stop_token token) const {
  auto stop = std::make_shared<Stop>(node_);
  stop->parent_link.emplace(token_, Stop::PassOn{stop->source});
  stop->other_link.emplace(std::move(token), Stop::PassOn{stop->source});
  Context derived = *this;
  derived.token_ = stop->source.get_token();
  derived.node_ = std::move(stop);
  return derived;
}

Context Context::for_request(MonotonicTime deadline, std::stop_token token,
                             std::shared_ptr<DeadlineTimer> timer) const {
  Context request;
  request.node_ = node_;
  request.deadline_ = std::min(deadline, deadline_);
  request.token_ = std::move(token);
  request.timer_ = timer ? std::move(timer) : timer_;
  return request;
}

}  // namespace vigil::http
