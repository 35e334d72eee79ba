#include "server-core/http2_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

static_assert(static_cast<std::size_t>(Counter::kHttp2AbuseLast) -
                  static_cast<std::size_t>(Counter::kHttp2Abuse) + 1 ==
              kHttp2AbuseKinds);

// Announced bodies up to this size are collected before the handler starts: as long as its window.
constexpr std::uint64_t kCollectBytesMax = 64 * 1024;

Http2Session::Limits limits_of(const ServerOptions& options) {
  Http2Session::Limits limits;
  limits.streams_max = options.http2_max_streams;
  limits.header_bytes_max = options.max_header_bytes;
  limits.header_fields_max = options.max_header_fields;
  return limits;
}

}  // namespace

Http2Connection::Http2Connection(Engine& engine, Connection& connection, MonotonicTime now)
    : engine_(engine),
      context_(connection.has_context ? connection.context : engine.options.base_context),
      peer_(connection.peer.to_host_port()),
      opened_(connection.began),
      session_(limits_of(engine.options), *this, now),
      trace_id_(connection.trace_id),
      connection_(&connection),
      idle_since_(now),
      received_(now) {}

Http2Connection::~Http2Connection() = default;

// --- The leader.

Http2Connection::Input Http2Connection::receive(std::span<char> scratch, EngineThread& thread) {
  Lock lock(mutex_);
  const ssize_t got = connection_->receive(scratch.data(), scratch.size());
  if (got < 0 && errno == EINTR) return Input::kMore;
  if (got < 0 && errno == EAGAIN) return Input::kEmpty;
  if (got <= 0) return Input::kGone;
  thread.counters.add(Counter::kBytesReceived, got);
  const auto size = static_cast<std::size_t>(got);
  received_ = thread.now();
  counters_ = &thread.counters;
  session_.receive({scratch.data(), size}, thread.now());
  count_abuse(thread.counters);
  counters_ = nullptr;
  const bool more = size == scratch.size() || connection_->peer_gone || connection_->has_pending();
  run_deferred(lock);
  return more ? Input::kMore : Input::kEmpty;
}

void Http2Connection::take_input(std::string_view bytes, EngineThread& thread) {
  Lock lock(mutex_);
  counters_ = &thread.counters;
  session_.receive(bytes, thread.now());
  count_abuse(thread.counters);
  counters_ = nullptr;
  run_deferred(lock);
}

void Http2Connection::count_abuse(CounterSet& counters) {
  const auto add = [&](Http2Abuse kind, std::uint64_t n) {
    if (n == 0) return;
    const auto counter = static_cast<int>(Counter::kHttp2Abuse) + static_cast<int>(kind);
    counters.add(static_cast<Counter>(counter), static_cast<std::int64_t>(n));
  };
  add(Http2Abuse::kHeaderList, session_.take_counted(Http2Abuse::kHeaderList));
  add(Http2Abuse::kWindowOverflow, session_.take_counted(Http2Abuse::kWindowOverflow));
  const std::optional<Http2Abuse> abuse = session_.guard().abuse();
  if (!abuse || std::exchange(abuse_counted_, true)) return;
  add(*abuse, 1);
  engine_.log.warn("http2 connection ended for abuse", {{"kind", http2_abuse_name(*abuse)}});
}

Http2Stream* Http2Connection::take_ready(EngineThread& thread) {
  const Lock lock(mutex_);
  if (out_total_ > kConnectionOutMax) return nullptr;
  Http2Stream* stream = ready_.pop_front();
  if (stream == nullptr) return nullptr;
  if (stream->pass != QueuePass::kNone) {
    thread.counters.add(Counter::kQueueWaitNs, (thread.now() - stream->queued_at).count());
  }
  stream->work = Http2Stream::Work::kRunning;
  stream->write_deadline = deadline_after(thread.now(), engine_.timeouts.write);
  ++running_;
  return stream;
}

bool Http2Connection::flush(EngineThread& thread) {
  Lock lock(mutex_);
  const bool whole = pump(&thread.counters);
  run_deferred(lock);
  return whole;
}

void Http2Connection::watch_input() {
  const Lock lock(mutex_);
  const std::uint32_t output = blocked_ ? std::uint32_t{EPOLLOUT} : 0;
  if (connection_ != nullptr) connection_->poller->report_again(*connection_, EPOLLIN | output);
}

void Http2Connection::note_writable() {
  const Lock lock(mutex_);
  blocked_ = false;
}

void Http2Connection::change_poller(Poller& to) {
  const Lock lock(mutex_);
  connection_->poller = &to;
}

bool Http2Connection::busy() {
  const Lock lock(mutex_);
  return !session_.streams().empty();
}

bool Http2Connection::runnable() {
  const Lock lock(mutex_);
  return !ready_.empty() && out_total_ <= kConnectionOutMax;
}

bool Http2Connection::over(MonotonicTime now) {
  const Lock lock(mutex_);
  if (last_words_ <= now) return true;
  return session_.ended() && output_sent_ == output_.size();
}

void Http2Connection::drain(EngineThread& thread) {
  Lock lock(mutex_);
  if (ending_ != Ending::kNo) return;
  ending_ = Ending::kAnnounced;
  ending_step_ = thread.now() + kEndStep;
  try {
    session_.announce_end();
    (void)pump(&thread.counters);
  } catch (const std::bad_alloc&) {
    fail_for_memory();
  }
  run_deferred(lock);
}

void Http2Connection::end_after_streams() {
  const Lock lock(mutex_);
  if (ending_ == Ending::kLastStreams) return;
  ending_ = Ending::kLastStreams;
  session_.end_after_streams();
}

void Http2Connection::detach() {
  Lock lock(mutex_);
  if (connection_ == nullptr) return;
  connection_ = nullptr;
  while (Http2Stream* stream = ready_.pop_front()) drop_slot(*stream);
  if (running_ > 0) engine_.connection_opened();
  for (const auto& stream : session_.streams()) {
    if (stream->work == Http2Stream::Work::kQueued) (void)leave_queue(*stream);
    if (stream->work != Http2Stream::Work::kRunning) continue;
    stop(*stream);
    stream->changed.notify_one();
  }
  run_deferred(lock);
}

// --- Output.

// With the mutex held. Sends until the socket or the session has no more. false: it is broken, which
// it is too when there is no memory to go on.
bool Http2Connection::pump(CounterSet* counters) noexcept {
  if (connection_ == nullptr || broken_) return false;
  try {
    return send_produced(counters);
  } catch (const std::bad_alloc&) {
    fail_for_memory();
    return false;
  }
}

// With the mutex held, on any thread: the session, or what stands around it, cannot go on.
void Http2Connection::fail_for_memory() noexcept {
  engine_.pool.add(Counter::kOutOfMemory);
  break_off();
}

// With the mutex held. The leader gets an event, and closes it.
void Http2Connection::break_off() noexcept {
  broken_ = true;
  if (connection_ != nullptr) ::shutdown(connection_->fd.get(), SHUT_RDWR);
}

bool Http2Connection::send_produced(CounterSet* counters) {
  while (!blocked_) {
    if (output_sent_ == output_.size()) {
      output_.clear();
      output_sent_ = 0;
      if (!session_.has_output()) break;
      if (output_.capacity() == std::string().capacity()) output_ = engine_.output_buffers.take();
      session_.produce(output_, Http2OutputBuffers::kBytesMax);
      if (counters != nullptr) count_abuse(*counters);
      if (output_.empty()) break;
    }
    const ssize_t sent = connection_->send(std::string_view(output_).substr(output_sent_));
    if (sent >= 0) {
      output_sent_ += static_cast<std::size_t>(sent);
      if (counters != nullptr) counters->add(Counter::kBytesSent, sent);
    } else if (errno == EAGAIN) {
      blocked_ = true;
      connection_->poller->report_again(*connection_, EPOLLOUT);
    } else if (errno != EINTR) {
      broken_ = true;
      return false;
    }
  }
  if (output_.empty()) engine_.output_buffers.give_back(std::exchange(output_, {}));
  return true;
}

// With the mutex held, by a thread that does not lead: what it has done may be for the leader to go
// on with. An event for a socket that is ready is all it takes.
void Http2Connection::wake_leader_if_needed() {
  if (connection_ == nullptr) return;
  const bool runnable = !ready_.empty() && out_total_ <= kConnectionOutMax;
  const bool ending = ending_ != Ending::kNo && session_.streams().empty();
  if (runnable || ending || broken_ || session_.ended()) {
    connection_->poller->report_soon(*connection_);
  }
}

// --- The session's events, with the mutex held.

void Http2Connection::make_ready(Http2Stream& stream) noexcept {
  stream.work = Http2Stream::Work::kReady;
  ready_.push_back(stream);
}

void Http2Connection::on_request(Http2Stream& stream) {
  const ServerOptions& options = engine_.options;
  stream.read_deadline = deadline_after(stream.began, engine_.timeouts.read);
  const std::uint32_t requests_max = options.max_requests_per_connection;
  if (requests_max != 0 && session_.requests() >= requests_max && ending_ != Ending::kLastStreams) {
    ending_ = Ending::kLastStreams;
    session_.end_after_streams();
  }
  const Framing& framing = stream.framing;
  if (options.max_body_bytes != 0 && framing.content_length > options.max_body_bytes) {
    return on_refused(stream, {413, "the request's body is too long"});
  }
  counters_->add(Counter::kRequests);
  // A body that its window has room for is collected, so a slow one holds no thread.
  const bool collect = !stream.request_ended && framing.content_length > 0 &&
                       framing.content_length <= kCollectBytesMax && !framing.expect_continue;
  if (collect) {
    stream.work = Http2Stream::Work::kCollecting;
  } else {
    make_ready(stream);
  }
}

void Http2Connection::on_refused(Http2Stream& stream, const Refusal& refusal) {
  counters_->add(Counter::kBadRequests);
  counters_->add(refusal.status >= 500 ? Counter::kStatus5xx : Counter::kStatus4xx);
  stream.work = Http2Stream::Work::kAnswered;
  stream.write_deadline = deadline_after(stream.began, engine_.timeouts.write);
  const std::string length = std::to_string(refusal.reason.size() + 1);
  const std::array<HeaderField, 3> fields = {{{"content-type", "text/plain; charset=utf-8"},
                                              {"x-content-type-options", "nosniff"},
                                              {"content-length", length}}};
  const bool head = stream.head.method == "HEAD";
  session_.respond(stream, refusal.status, fields,
                   head ? Http2Session::Body::kNone : Http2Session::Body::kFollows);
  if (head) return;
  stream.out.append(refusal.reason).append("\n");
  recount(stream);
  session_.out_ended(stream);
}

void Http2Connection::on_body(Http2Stream& stream) {
  if (stream.work == Http2Stream::Work::kCollecting && stream.request_ended) make_ready(stream);
  if (stream.waiting) stream.changed.notify_one();
}

void Http2Connection::on_taken(Http2Stream& stream) {
  recount(stream);
  if (stream.waiting && stream.out_bytes() <= kStreamOutMax / 2) stream.changed.notify_one();
}

void Http2Connection::on_closed(Http2Stream& stream) {
  stream.out.clear();
  stream.out_sent = 0;
  recount(stream);
  switch (stream.work) {
    case Http2Stream::Work::kRunning:
      stop(stream);
      if (stream.waiting) stream.changed.notify_one();
      return;
    case Http2Stream::Work::kQueued:
      if (!leave_queue(stream)) return;  // take_slot() releases it
      break;
    case Http2Stream::Work::kReady:
      ready_.remove(stream);
      drop_slot(stream);
      break;
    case Http2Stream::Work::kNone:
    case Http2Stream::Work::kCollecting:
    case Http2Stream::Work::kAnswered:
      break;
  }
  session_.release(stream);
  if (session_.streams().empty()) idle_since_ = engine_.clock.now();
}

void Http2Connection::recount(Http2Stream& stream) {
  out_total_ += stream.out_bytes() - stream.out_counted;  // modulo 2^64: may be less
  stream.out_counted = stream.out_bytes();
}

// --- The queue for a slot of max_in_flight.

FlightLimit::Parked Http2Connection::wait_in_queue(Http2Stream& stream, EngineThread& thread) {
  const Lock lock(mutex_);
  stream.work = Http2Stream::Work::kQueued;
  --running_;
  stream.queued_at = thread.now();
  stream.queue_deadline = deadline_after(thread.now(), engine_.options.queue_timeout);
  stream.waits_on = shared_from_this();
  const FlightLimit::Parked parked = engine_.flight.park(stream);
  if (parked == FlightLimit::Parked::kHasSlot) {
    stream.waits_on.reset();
    stream.work = Http2Stream::Work::kRunning;
    ++running_;
  } else {
    thread.counters.add(Counter::kQueued);
  }
  return parked;
}

bool Http2Stream::take_slot() noexcept {
  const std::shared_ptr<Http2Connection> connection = std::move(waits_on);
  return connection->take_slot(*this);
}

// The mutex is free: whoever gives a slot up holds none of ours.
bool Http2Connection::take_slot(Http2Stream& stream) noexcept {
  const Lock lock(mutex_);
  if (connection_ != nullptr && !stream.closed) {
    // A slot in its hand, it is served even while kConnectionOutMax wait: it waits behind them for the
    // write deadline at most.
    stream.pass = QueuePass::kGranted;
    make_ready(stream);
    connection_->poller->report_soon(*connection_);
    return true;
  }
  note_abandoned(stream);
  if (connection_ != nullptr) session_.release(stream);
  return false;
}

// false: it has a slot, and take_slot() comes.
bool Http2Connection::take_back(Http2Stream& stream) {
  if (!engine_.flight.take_back(stream)) return false;
  stream.waits_on.reset();
  return true;
}

// The same for one whose client does not wait any more.
bool Http2Connection::leave_queue(Http2Stream& stream) {
  if (!take_back(stream)) return false;
  note_abandoned(stream);
  return true;
}

// By threads of any kind, and seldom: in the pool's own set.
void Http2Connection::note_abandoned(const Http2Stream& stream) noexcept {
  engine_.pool.add(Counter::kQueueAbandoned);
  engine_.pool.add(Counter::kQueueWaitNs, (engine_.clock.now() - stream.queued_at).count());
}

// It will not run: the slot that it may have goes to the next one.
void Http2Connection::drop_slot(Http2Stream& stream) {
  if (std::exchange(stream.pass, QueuePass::kNone) == QueuePass::kGranted) ++unused_slots_;
}

// --- Stopping handlers.

// Marks it; run_deferred() tells the program.
void Http2Connection::stop(Http2Stream& stream) noexcept {
  if (std::exchange(stream.stop_requested, true) || !stream.stop_source) return;
  try {
    stops_.push_back(*stream.stop_source);
  } catch (const std::bad_alloc&) {
    engine_.pool.add(Counter::kOutOfMemory);  // it learns by its next read or write
  }
}

// What must not be done with the mutex held.
void Http2Connection::run_deferred(Lock& lock) {
  if (stops_.empty() && unused_slots_ == 0) return;
  std::vector<std::stop_source> stops = std::exchange(stops_, {});
  const std::size_t slots = std::exchange(unused_slots_, 0);
  lock.unlock();
  for (std::stop_source& source : stops) source.request_stop();
  for (std::size_t i = 0; i < slots; ++i) engine_.flight.leave();
}

std::stop_token Http2Connection::stop_token(Http2Stream& stream) {
  const Lock lock(mutex_);
  if (!stream.stop_source) {
    stream.stop_source.emplace();
    if (stream.stop_requested || connection_ == nullptr) {
      stream.stop_source->request_stop();  // nobody has the token yet: no callback runs
    }
  }
  return stream.stop_source->get_token();
}

void Http2Connection::request_stop(Http2Stream& stream) {
  Lock lock(mutex_);
  stop(stream);
  run_deferred(lock);
}

void Http2Connection::end_stop_scope(Http2Stream& stream) {
  std::optional<std::stop_source> source;
  {
    const Lock lock(mutex_);
    source.swap(stream.stop_source);
  }
  if (source) source->request_stop();
}

}  // namespace vigil::http
