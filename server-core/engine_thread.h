// EngineThread: one thread of the engine with what it needs to serve requests: a buffer to read
// into, a parser, and the request and response objects, all of them reused. It leads a poller, or
// runs a handler, or is idle in the pool.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server-core/connection.h"
#include "server-core/counters.h"
#include "server-core/date.h"
#include "server-core/exchange.h"
#include "server-core/request_parser.h"
#include "server-core/request_trace.h"
#include "server-core/server_stats.h"

namespace vigil::http {

class Engine;
class Http2Connection;
class Http2Exchange;
class Poller;
struct Http2Stream;

class EngineThread {
 public:
  static constexpr std::size_t kScratchBytes = 64 * 1024;
  // Reads in a row from one connection before others get their turn.
  static constexpr int kReadsMax = 16;

  EngineThread(Engine& engine, std::string name);
  ~EngineThread();

  // false if the system has no thread for us.
  bool start();
  void join();

  // The calling thread's own, nullptr for threads that are no engine's.
  static EngineThread* current();

  Engine& engine() const { return engine_; }
  bool leads(const Poller& poller) const { return leading_ == &poller; }
  bool leads_any() const { return leading_ != nullptr; }

  // --- What a leader does with a connection that it owns. Each may end the thread's leadership;
  // the caller then must not touch the poller any more. (serve.cc)

  // Reads what has come and acts on it, for every state but kHandling.
  void serve_readable(Connection& connection);
  // Sends more of a response that waits.
  void serve_writable(Connection& connection);
  // The connection's deadline has passed.
  void serve_deadline(Connection& connection);
  // Its request has left the queue with a pass: it is served, or answered 503.
  void serve_queued(Connection& connection);
  // The peer has gone while its request waited.
  void abandon_queued(Connection& connection);

  // HTTP/2: goes on with the streams of a connection whose last leader runs a handler of it. (This
  // and the next ones: serve_http2.cc)
  void resume_multiplexed(Connection& connection);
  // Begins its end in two steps.
  void drain_multiplexed(Connection& connection);
  // Its socket is about to be closed.
  void leave_http2(Connection& connection);

  // Answers a new connection that is over a limit with 503; it then lingers or is closed.
  void turn_away(Connection& connection);

  // --- Leadership.

  // By the pool, before it gives the thread to somebody: it has a buffer to read into from here on,
  // *buffer if it needs one and that is given. false: no memory.
  bool prepare_to_lead(std::unique_ptr<char[]>* buffer) noexcept;
  // Ends this thread's leadership, if it has any, by giving its poller to another thread. false if
  // there is none: then this thread leads on and must not block.
  bool hand_over();
  // The request being handled has reached its route; `task` is its activation. false: no thread for
  // it.
  bool enter_route(HandlerProfile& profile, leakwatch::TaskId task);
  // The clock, read now and remembered.
  MonotonicTime read_clock();
  // As of the last read: fresh enough for deadlines.
  MonotonicTime now() const { return now_; }

  // Makes the connection's context, if the program wants one and it has none yet.
  void prepare_context(Connection& connection);

  // What this thread's handler is, for shutdown reports. Any thread.
  std::optional<RunningHandler> running_handler(MonotonicTime now) const;

  void set_state(Connection& connection, ConnectionState state);
  // Tells the program's conn_state hook, if there is one and it is news.
  void announce(Connection& connection, ConnState state);

  CounterSet counters;
  DateCache date;

  // The pool's, guarded by its mutex.
  std::condition_variable wake;
  Poller* assigned = nullptr;
  bool fresh = true;

 private:
  friend class Poller;
  friend class Exchange;

  enum class Outcome : std::uint8_t {
    kNext,       // answered; the input behind the request is next
    kNeedMore,   // all input is used up or kept; read on
    kElsewhere,  // the connection waits for something else than input, or is gone
    kParked,     // it is in the queue for a slot: not ours any more, and not to be touched
  };
  using Step = Outcome (EngineThread::*)(Connection&);

  static void* thread_main(void* self);
  void run();

  // serve.cc
  Outcome attempt(Connection& connection, Step step);
  Outcome on_no_memory(Connection& connection);
  Outcome flush_output(Connection& connection);
  Outcome end_of_deadline(Connection& connection);
  Outcome serve_kept_and_read(Connection& connection);
  Outcome turn_away_and_linger(Connection& connection);
  Outcome read_and_serve(Connection& connection);
  Outcome wait_for_input(Connection& connection);
  Outcome serve_kept(Connection& connection);
  Outcome serve_input(Connection& connection, std::string_view input);
  Outcome serve_head(Connection& connection, std::string_view& input);
  Outcome serve_request(Connection& connection, std::string_view& input);
  Outcome wait_in_queue(Connection& connection, std::string_view input);
  void note_queue_wait(const Connection& connection);
  template <typename AnyExchange>
  void call_root_in_slot(Connection& connection, AnyExchange& exchange);
  Outcome after_response(Connection& connection, std::string_view& input,
                         const Exchange::Ending& ending);
  Outcome discard_body(Connection& connection);
  Outcome discard_lingering(Connection& connection);
  Outcome refuse(Connection& connection, Refusal refusal);
  void send_refusal(Connection& connection, Refusal refusal);
  void keep_input(Connection& connection, std::string_view input);
  void become_idle(Connection& connection);
  Outcome linger(Connection& connection);
  Outcome close(Connection& connection);
  Outcome close_in_order(Connection& connection);
  void settle(Connection& connection, Outcome outcome);
  bool release(Connection& connection);
  void give_back(Connection& connection);

  // handshake.cc
  Outcome shake_hands(Connection& connection);
  Outcome end_handshake(Connection& connection, std::string_view reason);
  Outcome end_of_handshake_time(Connection& connection);
  void log_handshake(Connection& connection, std::string_view reason);
  bool keep_buffers(Connection& connection);
  Outcome become_quiet(Connection& connection);

  // serve_http2.cc
  enum class Preface : std::uint8_t { kOther, kRefused, kPart, kWhole };
  Preface compare_with_preface(const Connection& connection, std::string_view input) const;
  Outcome begin_http2(Connection& connection, std::string_view input);
  Outcome serve_multiplexed(Connection& connection);
  Outcome watch_http2(Connection& connection);
  Outcome end_http2(Connection& connection);
  bool run_ready(Connection& connection, const std::shared_ptr<Http2Connection>& http2);
  void run_stream(Connection& connection, const std::shared_ptr<Http2Connection>& http2,
                  Http2Stream& stream);
  FlightLimit::Entry admit_stream(Http2Connection& http2, Http2Stream& stream);
  void serve_stream(Connection& connection, const std::shared_ptr<Http2Connection>& http2,
                    Http2Stream& stream);

  // engine_thread.cc; for Exchange and Http2Exchange.
  template <typename AnyExchange>
  void call_root(Connection& connection, AnyExchange& exchange);
  template <typename AnyExchange>
  void invoke_root(Connection& connection, AnyExchange& exchange);
  void end_cancelled(Connection& connection, Exchange& exchange);
  void end_cancelled(Connection& connection, Http2Exchange& exchange);
  void drop_turn();

  Engine& engine_;
  const std::string name_;
  pthread_t pthread_{};
  bool joined_ = false;
  std::atomic<pid_t> tid_{0};
  Poller* leading_ = nullptr;
  std::uint64_t turn_ = 0;  // the poller's turn that this thread's inline handler runs in; 0: none
  Connection* current_ = nullptr;      // whose request runs now
  HandlerProfile* profile_ = nullptr;  // of what runs now
  RequestTimes times_;                 // of the request that is served
  MonotonicTime now_{};

  std::unique_ptr<char[]> scratch_;
  std::string held_;  // a connection's input, while a request in it is served
  RequestParser parser_;
  Exchange exchange_;
  // From its first stream on. Deleted behind a function of serve_http2.cc: a program that links without_http2.cc instead
  // has neither.
  struct Http2ExchangeDelete {
    void operator()(Http2Exchange* exchange) const noexcept;
  };
  std::unique_ptr<Http2Exchange, Http2ExchangeDelete> http2_exchange_;

  // The handler that runs, for running_handler().
  std::atomic<std::int64_t> handler_started_ns_{0};  // 0: none
  std::atomic<leakwatch::TaskId> handler_task_{leakwatch::TaskId::kNone};
};

}  // namespace vigil::http
