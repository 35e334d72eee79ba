#include "server-core/listener_filter.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <string_view>

namespace vigil::http {

// --- ConnectionLimit

bool ConnectionLimit::may_accept() {
  // Sequentially consistent, with the acceptor's own flag: see Acceptor::pause().
  return policy_ == LimitPolicy::kReject || open_.load() < max_;
}

// kPause can meet its limit here too: two servers that share it may both have been let through.
ListenerFilter::Verdict ConnectionLimit::on_accept(const PeerAddress&) {
  if (open_.fetch_add(1) < max_) return Verdict::kAdmit;
  open_.fetch_sub(1);
  return Verdict::kRefuse;
}

void ConnectionLimit::on_close(const PeerAddress&) noexcept { open_.fetch_sub(1); }

// --- AddressLimit

std::size_t AddressLimit::Hash::operator()(const PeerAddress& peer) const {
  if (peer.family == AF_UNIX) return std::hash<uid_t>()(peer.unix_uid());
  const auto* bytes = reinterpret_cast<const char*>(&peer.address);
  return std::hash<std::string_view>()({bytes, sizeof(peer.address)});
}

ListenerFilter::Verdict AddressLimit::on_accept(const PeerAddress& peer) {
  std::lock_guard lock(mutex_);
  std::size_t& open = open_[peer];
  if (open >= max_) return Verdict::kRefuse;
  ++open;
  return Verdict::kAdmit;
}

void AddressLimit::on_close(const PeerAddress& peer) noexcept {
  std::lock_guard lock(mutex_);
  const auto entry = open_.find(peer);
  if (--entry->second == 0) open_.erase(entry);
}

// --- SameUser

ListenerFilter::Verdict SameUser::on_accept(const PeerAddress& peer) {
  if (peer.family != AF_UNIX) return Verdict::kAdmit;
  const uid_t uid = peer.unix_uid();
  return uid == user_ || uid == 0 ? Verdict::kAdmit : Verdict::kDrop;
}

// --- AcceptLog

ListenerFilter::Verdict AcceptLog::on_accept(const PeerAddress& peer) {
  log_.debug("connection accepted", {{"peer", format_host_port(peer.to_host_port())}});
  return Verdict::kAdmit;
}

void AcceptLog::on_close(const PeerAddress& peer) noexcept {
  try {
    log_.debug("connection closed", {{"peer", format_host_port(peer.to_host_port())}});
  } catch (const std::exception&) {
    // Out of memory: without its line, then.
  }
}

// --- FilterChain

bool FilterChain::may_accept() {
  return std::all_of(filters_.begin(), filters_.end(),
                     [](const auto& filter) { return filter->may_accept(); });
}

ListenerFilter::Verdict FilterChain::ask(ListenerFilter& filter, const PeerAddress& peer) {
  try {
    return filter.on_accept(peer);
  } catch (const std::exception&) {
    return ListenerFilter::Verdict::kDrop;
  }
}

FilterChain::Decision FilterChain::on_accept(const PeerAddress& peer) noexcept {
  for (std::size_t i = 0; i < filters_.size(); ++i) {
    const ListenerFilter::Verdict verdict = ask(*filters_[i], peer);
    if (verdict == ListenerFilter::Verdict::kAdmit) continue;
    close_first(i, peer);
    return {verdict, filters_[i].get()};
  }
  return {};
}

void FilterChain::close_first(std::size_t count, const PeerAddress& peer) noexcept {
  while (count > 0) filters_[--count]->on_close(peer);
}

}  // namespace vigil::http
