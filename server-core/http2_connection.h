// Http2Connection: a connection that carries many streams, between the leader of its poller and the
// threads that run its streams' handlers.
//
//   leader                              mutex                       handlers' threads
//   recv ─▶ Http2Session ─▶ ready streams │ ─▶ take_ready(), on the leader; it may hand over, and
//   flush(): one send for a batch         │    the next leader goes on with the connection
//   timers: look()                        │ read_body(), write(), finish(): wait for `changed`,
//   close: detach()                       │    send by themselves
//
// The leader owns the Connection, as ever; handlers' threads use its socket with the mutex held, and
// only until detach(). Shared by both through a shared_ptr: the last handler may end long after the
// connection. The mutex is never held while a handler or a stop callback runs, nor for a wait. Of
// others' locks it comes before FlightLimit's, and never while a slot is given up: that may lock the
// connection of the stream that gets it.
//
// Memory, at most: of requests' bodies what Http2Session keeps (Limits::stream_window a stream,
// connection_window in all); of responses kStreamOutMax a stream that is being written, the writer's
// buffer (ResponseBase::kBufferBytes) of one that is finished, and no new handler is started while
// kConnectionOutMax wait in all; unsent output Http2OutputBuffers::kBytesMax and a frame.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/text.h"
#include "server-core/context.h"
#include "server-core/counters.h"
#include "server-core/http2_session.h"

namespace vigil::http {

class Engine;
class EngineThread;
class Poller;
struct Connection;

class Http2Connection final : private Http2Events,
                              public std::enable_shared_from_this<Http2Connection> {
 public:
  // What write() keeps of one response beyond what the peer's window takes: little, because what its
  // caller has is in a buffer already. Some, so that the leader has what to send when the window
  // opens, while the handler's thread wakes up.
  static constexpr std::size_t kStreamOutMax = 2 * 1024 - 1;
  static constexpr std::size_t kConnectionOutMax = 1024 * 1024;
  // Between the two steps of the end, if the client does not answer the PING.
  static constexpr Duration kEndStep = std::chrono::seconds(1);
  // How long a client may take to read the last GOAWAY.
  static constexpr Duration kLastWords = std::chrono::seconds(2);

  Http2Connection(Engine& engine, Connection& connection, MonotonicTime now);
  ~Http2Connection() override;

  // --- The leader.

  enum class Input : std::uint8_t { kMore, kEmpty, kGone };
  // Reads once from the socket, into `scratch` and the session.
  Input receive(std::span<char> scratch, EngineThread& thread);
  // What had been read before the connection was known to speak HTTP/2.
  void take_input(std::string_view bytes, EngineThread& thread);
  // A stream whose handler may run now; nullptr if there is none.
  Http2Stream* take_ready(EngineThread& thread);
  // For one that take_ready() gave, but FlightLimit::enter() only a place in the queue: kWaits, and it
  // must not be touched; it comes back through take_ready(), with a pass. Or it has a slot already.
  FlightLimit::Parked wait_in_queue(Http2Stream& stream, EngineThread& thread);
  // Sends what there is. false: the socket is broken.
  bool flush(EngineThread& thread);
  // More input shall be reported, also what has come already.
  void watch_input();
  // The socket takes bytes again.
  void note_writable();
  // Acts on deadlines that have passed. Gives the time of the next look.
  MonotonicTime look(EngineThread& thread);
  // The connection moves to another poller, which looks at everything once it has it: what is announced
  // to either meanwhile may be lost.
  void change_poller(Poller& to);
  // Nothing is left to do on it, or its last words have had their time.
  bool over(MonotonicTime now);
  // The server goes down, or closes idle connections: the end in two steps.
  void drain(EngineThread& thread);
  bool busy();
  // take_ready() would give a stream.
  bool runnable();
  // The socket is about to be closed: nobody uses it from here on, and handlers are told. The
  // engine counts the connection as open until the last of them has returned.
  void detach();

  // --- The thread that runs a stream's handler.

  // At least one byte of the body, 0 at its end. The contract of Request::read().
  Result<std::size_t> read_body(Http2Stream& stream, std::span<char> into, EngineThread& thread);
  // Whether the body's end has been read.
  bool body_read(Http2Stream& stream);
  // The head, and with kFollows a body by write() and finish().
  void respond(Http2Stream& stream, int status, std::span<const HeaderField> fields,
               Http2Session::Body body);
  Result<void> inform(Http2Stream& stream, int status, std::span<const HeaderField> fields,
                      EngineThread& thread);
  // Appends to the body; blocks, having handed polling over, while there is no room.
  Result<void> write(Http2Stream& stream, std::string_view bytes, EngineThread& thread);
  // The response's last bytes and its trailers.
  void end_response(Http2Stream& stream, std::string_view bytes, const HeaderMap& trailers);
  // The response cannot be ended as it was begun.
  void reset(Http2Stream& stream, Http2Error error);
  // The handler has returned and its response is submitted, or reset: the stream must not be
  // touched behind it. Sends, unless `thread` leads and will flush().
  void finish(Http2Stream& stream, EngineThread& thread);
  // There is no memory for the stream's response: instead of finish(). The connection is closed.
  void give_up(Http2Stream& stream) noexcept;
  // No more requests are taken: for max_requests_per_connection, or a handler's Connection: close.
  void end_after_streams();

  // --- Any thread: FlightWaiter::take_slot() of a stream.
  bool take_slot(Http2Stream& stream) noexcept;

  void set_write_deadline(Http2Stream& stream, MonotonicTime deadline);
  // The write deadline has passed if it has not moved: as look() does. Any thread.
  void cut_if_late(Http2Stream& stream);
  bool is_late(Http2Stream& stream, MonotonicTime now);

  std::stop_token stop_token(Http2Stream& stream);
  void request_stop(Http2Stream& stream);
  void end_stop_scope(Http2Stream& stream);

  const Context& context() const { return context_; }
  const HostPort& peer() const { return peer_; }
  // The connection's number in traces; it has one from the first trace that sees it on. Any thread.
  std::uint64_t trace_number();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void on_request(Http2Stream& stream) override;
  void on_refused(Http2Stream& stream, const Refusal& refusal) override;
  void on_body(Http2Stream& stream) override;
  void on_taken(Http2Stream& stream) override;
  void on_closed(Http2Stream& stream) override;

  void make_ready(Http2Stream& stream) noexcept;
  bool take_back(Http2Stream& stream);
  bool leave_queue(Http2Stream& stream);
  void drop_slot(Http2Stream& stream);
  void note_abandoned(const Http2Stream& stream) noexcept;
  void recount(Http2Stream& stream);
  void release_if_done(Http2Stream& stream);
  void stop(Http2Stream& stream) noexcept;
  void run_deferred(Lock& lock);
  bool pump(CounterSet* counters) noexcept;
  bool send_produced(CounterSet* counters);
  void fail_for_memory() noexcept;
  void break_off() noexcept;
  void count_abuse(CounterSet& counters);
  void wake_leader_if_needed();
  void cut(Http2Stream& stream);
  std::string_view send_direct(Http2Stream& stream, std::string_view bytes, EngineThread& thread);
  Result<void> wait(Http2Stream& stream, MonotonicTime deadline, Lock& lock, EngineThread& thread);
  MonotonicTime look_at(Http2Stream& stream, MonotonicTime now, CounterSet& counters);
  MonotonicTime look_at_end(MonotonicTime now);
  MonotonicTime look_at_idle(MonotonicTime now, CounterSet& counters);
  MonotonicTime look_at_ping(MonotonicTime now);
  void terminate(Http2Error error, MonotonicTime now);

  Engine& engine_;
  const Context context_;
  const HostPort peer_;
  const MonotonicTime opened_;

  std::mutex mutex_;
  // All guarded by mutex_.
  Http2Session session_;
  std::atomic<std::uint64_t> trace_id_;  // 0: none yet
  Connection* connection_;               // nullptr: detached
  IntrusiveList<Http2Stream, &Http2Stream::ready_next, &Http2Stream::ready_previous> ready_;
  // To be done without the mutex, by run_deferred().
  std::vector<std::stop_source> stops_;
  std::size_t unused_slots_ = 0;  // of streams that closed before their handlers began
  std::string output_;  // one of Engine::output_buffers, while something of it is not sent
  std::size_t output_sent_ = 0;
  std::size_t out_total_ = 0;  // of all streams' `out`
  std::size_t running_ = 0;    // handlers
  bool blocked_ = false;       // the socket takes nothing until note_writable()
  bool broken_ = false;
  bool abuse_counted_ = false;
  CounterSet* counters_ = nullptr;  // of the leader, while it is in the session
  enum class Ending : std::uint8_t { kNo, kAnnounced, kLastStreams } ending_ = Ending::kNo;
  MonotonicTime ending_step_ = kNoDeadline;  // when kAnnounced becomes kLastStreams
  MonotonicTime last_words_ = kNoDeadline;   // terminated: when it is closed whatever was read
  MonotonicTime idle_since_;
  MonotonicTime received_;  // last
  MonotonicTime ping_deadline_ = kNoDeadline;
};

}  // namespace vigil::http
