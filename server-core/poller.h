// Poller: one epoll instance, its connections and its timers. Exactly one thread at a time leads
// it; README.md draws how leadership moves.
//
// Each connection is added to epoll once, edge-triggered: no epoll_ctl per request, only where one
// came or went in parts (report_again()).
#pragma once

#include <sys/epoll.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "server-core/connection.h"
#include "server-core/connection_list.h"
#include "server-core/handler_profile.h"
#include "server-core/poller_load.h"
#include "server-core/timer_wheel.h"

namespace vigil::http {

class Engine;
class EngineThread;
class ListingRequest;

class Poller {
 public:
  Poller(Engine& engine, std::size_t index);
  ~Poller();

  Result<void> open();

  // --- Any thread.

  // Gives a connection to the leader: a new one, or one whose handler has ended in a state that
  // needs the leader.
  void give(Connection& connection);
  // Makes the leader look at its inbox and at the engine's phase.
  void wake();
  // Has the leader answer `request` with the connections that it has.
  void list(std::shared_ptr<ListingRequest> request);
  // For one window from the time that the leader hears of it: `share` of the connections that have an
  // event move to `to`. `round` is no other's of the server, and not 0.
  struct PassOn {
    Poller* to = nullptr;
    double share = 0;
    std::uint32_t round = 0;
  };
  void pass_on(const PassOn& order);
  std::size_t index() const { return index_; }
  const PollerLoad& load() const { return load_; }
  // The number of the present turn, odd while a handler runs inline.
  std::uint64_t turn() const { return turn_.load(std::memory_order_seq_cst); }
  // The kernel's id of the thread that polls, or polled last.
  pid_t leader() const { return leader_.load(std::memory_order_relaxed); }
  // By the monitor: another thread takes over, unless turn `seen` has ended. true if it did.
  bool rescue(std::uint64_t seen);

  // --- The leader.

  // Polls until the thread has lost its leadership or the engine stops.
  void lead(EngineThread& thread);
  // Announces that `profile`'s code runs inline from now on, for `connection`; returns the turn's
  // number.
  std::uint64_t begin_inline(HandlerProfile& profile, Connection& connection);
  // Says which connection the thread that is about to hand over takes along.
  void leave_behind(Connection& connection) { taken_along_ = &connection; }
  void change_inline_profile(HandlerProfile& profile);
  // false if the turn was taken away: the caller leads no more.
  bool end_inline(std::uint64_t turn);

  // The connection is about to wait in the queue of requests: arms its deadline.
  void watch_queued(Connection& connection, EngineThread& thread) { arm(connection, thread); }
  // Back to waiting for events, with the connection's deadline armed.
  void park(Connection& connection, EngineThread& thread);
  // Closes the socket; the object goes with the end of the batch.
  void destroy(Connection& connection, EngineThread& thread);
  // Has epoll report the connection once more if one of `events` (EPOLLIN, EPOLLOUT) holds now, and
  // when it comes to hold: after reading or writing only a part. An edge that a system call has
  // swallowed (EAGAIN or a short read although there is more) comes back this way (P3.5). By the
  // thread that owns the connection.
  void report_again(Connection& connection, std::uint32_t events);

  // Has epoll report it at once, or as soon as its socket takes bytes. Any thread, while the
  // connection is known to live.
  void report_soon(Connection& connection);

  // 0, or an errno: it is not watched.
  int watch_listener(int fd);
  void unwatch_listener(int fd);

 private:
  static constexpr int kBatch = 128;
  using Listings = std::vector<std::shared_ptr<ListingRequest>>;

  void wait(EngineThread& thread);
  bool drain_batch(EngineThread& thread);
  bool drain_inbox(EngineThread& thread);
  void answer_listings(Listings requests, const EngineThread& thread) const;
  void answer(ListingRequest& request, const EngineThread& thread) const;
  void run_timers(EngineThread& thread);
  void dispatch(Connection& connection, std::uint32_t events, EngineThread& thread);
  void process(Connection& connection, std::uint32_t bits, EngineThread& thread);
  void adopt(Connection& connection, EngineThread& thread);
  bool register_connection(Connection& connection);
  void unregister(Connection& connection);
  void begin_passing_on(const PassOn& order, const EngineThread& thread);
  bool passes_on(Connection& connection, EngineThread& thread);
  bool move(Connection& connection, Poller& to, EngineThread& thread);
  void arm(Connection& connection, EngineThread& thread);
  void on_owned_deadline(Connection& connection, EngineThread& thread);
  bool end_queueing(Connection& connection, QueuePass pass);
  void free_dead();
  void sweep(EngineThread& thread);
  void sweep_idle(EngineThread& thread);
  void close_if_idle(Connection& connection, EngineThread& thread);
  void sweep_draining(Connection& connection, EngineThread& thread);
  void sweep_forced(Connection& connection, EngineThread& thread);
  bool finished() const;

  Engine& engine_;
  const std::size_t index_;
  UniqueFd epoll_;
  UniqueFd wakeup_;

  std::atomic<std::uint64_t> turn_{0};
  std::atomic<HandlerProfile*> inline_profile_{nullptr};
  std::atomic<pid_t> leader_{0};

  std::mutex inbox_mutex_;
  ConnectionList inbox_;  // guarded by inbox_mutex_
  Listings listings_;     // guarded by inbox_mutex_
  PassOn ordered_;        // guarded by inbox_mutex_

  PollerLoad load_;

  // The leader's.
  PassOn passing_;  // to nobody: stays, but for what an order says
  double passing_credit_ = 0;
  MonotonicTime passing_until_{};
  std::array<epoll_event, kBatch> events_{};
  int event_count_ = 0;
  int event_next_ = 0;
  bool woken_ = false;
  bool has_cut_ = false;
  Connection* taken_along_ = nullptr;  // owned by the handler of the thread that led before
  ConnectionList adopting_;            // the inbox, taken out
  Connection* connections_ = nullptr;  // all that are registered
  ConnectionList dead_;                // freed after the batch
  TimerWheel wheel_;
};

}  // namespace vigil::http
