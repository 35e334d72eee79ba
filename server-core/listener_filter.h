// ListenerFilter: a wrapper around the accepting of connections. It decides about each one, and
// hears when it is gone.
//
//   class OfficeOnly final : public ListenerFilter {     // refuses who does not come from 10/8
//    public:
//     Verdict on_accept(const PeerAddress& peer) override {
//       const bool inside = peer.family == AF_INET && peer.address.s6_addr[0] == 10;
//       return inside ? Verdict::kAdmit : Verdict::kDrop;
//     }
//   };
//   options.listener_filters = {std::make_shared<AcceptLog>(sink), std::make_shared<OfficeOnly>()};
//
// Filters compose in their order: the first is the outermost, and a later one hears only of what
// those before it have admitted. ServerOptions::max_connections_per_ip and max_connections are the
// filters AddressLimit and ConnectionLimit, behind the program's own. One filter may serve several
// servers: a ConnectionLimit given to two of them limits their sum.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "server-core/peer_address.h"

namespace vigil::http {

class ListenerFilter {
 public:
  enum class Verdict : std::uint8_t {
    kAdmit,   // on_close() follows, once
    kRefuse,  // answered with 503, Retry-After and Connection: close
    kDrop,    // closed without an answer
  };

  virtual ~ListenerFilter() = default;

  // Whether the next connection may be taken out of the backlog. While one filter says no, the
  // server does not accept, and the kernel keeps newcomers waiting. It asks again whenever one of
  // its connections has been closed, and at least once a second. Called by one thread at a time of
  // each server; must not block.
  virtual bool may_accept() { return true; }

  // A connection has been accepted. Called like may_accept(): it runs on a thread that polls, so it
  // must not block, or all connections wait. An exception drops the newcomer.
  virtual Verdict on_accept(const PeerAddress& peer) = 0;

  // A connection that this filter admitted is gone: closed, or turned away by a filter behind this
  // one. Any thread of the server; must not block. `peer` with its port names the connection: no
  // two open ones have the same.
  virtual void on_close([[maybe_unused]] const PeerAddress& peer) noexcept {}
};

// What a limit does with the connection that is one too many.
enum class LimitPolicy : std::uint8_t {
  kReject,  // 503 with Retry-After: the client, or a balancer before us, knows at once
  kPause,   // it stays in the listen backlog, and is served when a place is free
};

// At most `max` connections at once, max > 0.
class ConnectionLimit final : public ListenerFilter {
 public:
  ConnectionLimit(std::size_t max, LimitPolicy policy) : max_(max), policy_(policy) {}
  bool may_accept() override;
  Verdict on_accept(const PeerAddress& peer) override;
  void on_close(const PeerAddress& peer) noexcept override;

 private:
  const std::size_t max_;
  const LimitPolicy policy_;
  std::atomic<std::size_t> open_{0};
};

// At most `max` connections of one address at once, max > 0. kRefuse beyond it: an address over its
// limit must not pause the others.
class AddressLimit final : public ListenerFilter {
 public:
  explicit AddressLimit(std::size_t max) : max_(max) {}
  Verdict on_accept(const PeerAddress& peer) override;
  void on_close(const PeerAddress& peer) noexcept override;

 private:
  struct Hash {
    std::size_t operator()(const PeerAddress& peer) const;
  };
  struct SameHost {
    bool operator()(const PeerAddress& a, const PeerAddress& b) const { return same_host(a, b); }
  };

  const std::size_t max_;
  std::mutex mutex_;
  std::unordered_map<PeerAddress, std::size_t, Hash, SameHost> open_;  // guarded by mutex_
};

// Drops connections to a Unix socket whose process belongs neither to `user` nor to root, whatever
// the socket's mode; others pass. A server with a Unix socket has one before all other filters.
class SameUser final : public ListenerFilter {
 public:
  explicit SameUser(uid_t user) : user_(user) {}
  Verdict on_accept(const PeerAddress& peer) override;

 private:
  const uid_t user_;
};

// Says who comes and who goes, a debug record each, with source "listener". `sink` must outlive it.
class AcceptLog final : public ListenerFilter {
 public:
  explicit AcceptLog(LogSink& sink) : log_(sink, "listener") {}
  Verdict on_accept(const PeerAddress& peer) override;
  void on_close(const PeerAddress& peer) noexcept override;

 private:
  const Logger log_;
};

// Several filters as one, for the engine and for tests of filters. Thread-safe as they are.
class FilterChain {
 public:
  struct Decision {
    ListenerFilter::Verdict verdict = ListenerFilter::Verdict::kAdmit;
    const ListenerFilter* by = nullptr;  // who turned it away
  };

  explicit FilterChain(std::vector<std::shared_ptr<ListenerFilter>> filters)
      : filters_(std::move(filters)) {}

  bool may_accept();
  // kAdmit must be followed by on_close(). Does not throw.
  Decision on_accept(const PeerAddress& peer) noexcept;
  void on_close(const PeerAddress& peer) noexcept { close_first(filters_.size(), peer); }

 private:
  ListenerFilter::Verdict ask(ListenerFilter& filter, const PeerAddress& peer);
  void close_first(std::size_t count, const PeerAddress& peer) noexcept;

  const std::vector<std::shared_ptr<ListenerFilter>> filters_;
};

}  // namespace vigil::http
