// Http2Connection's half for the threads that run handlers.
#include <algorithm>
#include <utility>

#include "sampler/trace/trace_buffer.h"
#include "server-core/connection.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"

namespace vigil::http {

std::uint64_t Http2Connection::trace_number() {
  std::uint64_t number = trace_id_.load(std::memory_order_relaxed);
  if (number != 0) return number;
  const std::uint64_t made = sampler::trace::new_id();
  return trace_id_.compare_exchange_strong(number, made) ? made : number;
}

// Waits for the stream to change. The caller looks at what has become of it.
Result<void> Http2Connection::wait(Http2Stream& stream, MonotonicTime deadline, Lock& lock,
                                   EngineThread& thread) {
  if (thread.leads_any()) {
    (void)pump(&thread.counters);
    lock.unlock();
    const bool handed_over = thread.hand_over();
    lock.lock();
    if (!handed_over) {
      return Error(ErrorCode::kResourceExhausted, "no thread is free to poll meanwhile");
    }
    return {};  // things may have changed
  }
  if (thread.read_clock() >= deadline) {
    return Error(ErrorCode::kDeadlineExceeded, "deadline passed");
  }
  stream.waiting = true;
  engine_.clock.wait_until(lock, stream.changed, deadline);
  stream.waiting = false;
  return {};
}

Result<std::size_t> Http2Connection::read_body(Http2Stream& stream, std::span<char> into,
                                               EngineThread& thread) {
  Lock lock(mutex_);
  while (stream.unread_bytes() == 0) {
    if (stream.request_ended) return std::size_t{0};
    if (stream.closed || connection_ == nullptr) {
      return Error(ErrorCode::kClosed, "the client closed inside the body");
    }
    Result<void> waited = wait(stream, stream.read_deadline, lock, thread);
    if (waited) continue;
    if (waited.error().code() == ErrorCode::kDeadlineExceeded) {
      thread.counters.add(Counter::kTimeoutRead);
    }
    return std::move(waited).error().with_context("reading the body");
  }
  const std::size_t size = std::min(into.size(), stream.unread_bytes());
  std::copy_n(stream.body.data() + stream.body_read, size, into.data());
  stream.body_read += size;
  session_.consume(stream, size);
  if (!thread.leads_any()) (void)pump(&thread.counters);
  run_deferred(lock);
  return size;
}

bool Http2Connection::body_read(Http2Stream& stream) {
  const Lock lock(mutex_);
  return stream.request_ended && stream.unread_bytes() == 0;
}

void Http2Connection::respond(Http2Stream& stream, int status, std::span<const HeaderField> fields,
                              Http2Session::Body body) {
  const Lock lock(mutex_);
  if (connection_ != nullptr) session_.respond(stream, status, fields, body);
}

Result<void> Http2Connection::inform(Http2Stream& stream, int status,
                                     std::span<const HeaderField> fields, EngineThread& thread) {
  Lock lock(mutex_);
  if (stream.closed || connection_ == nullptr) {
    return Error(ErrorCode::kClosed, "the client is gone");
  }
  session_.inform(stream, status, fields);
  (void)pump(&thread.counters);
  run_deferred(lock);
  return {};
}

// Sends of `bytes` what the peer and the socket take, straight out of the writer's buffer; gives the
// rest.
std::string_view Http2Connection::send_direct(Http2Stream& stream, std::string_view bytes,
                                              EngineThread& thread) {
  struct Lent {
    std::string_view& direct;
    ~Lent() { direct = {}; }
  } lent{stream.direct};
  stream.direct = bytes;
  session_.out_grown(stream);
  (void)pump(&thread.counters);
  return stream.direct;
}

Result<void> Http2Connection::write(Http2Stream& stream, std::string_view bytes,
                                    EngineThread& thread) {
  Lock lock(mutex_);
  while (true) {
    if (stream.late || thread.read_clock() >= stream.write_deadline) {
      cut(stream);
      (void)pump(&thread.counters);
      run_deferred(lock);
      return Error(ErrorCode::kDeadlineExceeded, "the write deadline passed");
    }
    if (stream.closed || connection_ == nullptr) {
      return Error(ErrorCode::kClosed, "the client is gone");
    }
    bytes = send_direct(stream, bytes, thread);
    const std::size_t room = kStreamOutMax - std::min(kStreamOutMax, stream.out_bytes());
    const std::size_t size = std::min(room, bytes.size());
    if (stream.out_sent > 0) {
      stream.out.erase(0, stream.out_sent);
      stream.out_sent = 0;
    }
    stream.out.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    recount(stream);
    if (bytes.empty()) break;
    Result<void> waited = wait(stream, stream.write_deadline, lock, thread);
    if (!waited && waited.error().code() != ErrorCode::kDeadlineExceeded) {
      return std::move(waited).error().with_context("writing the response");
    }
  }
  run_deferred(lock);
  return {};
}

void Http2Connection::end_response(Http2Stream& stream, std::string_view bytes,
                                   const HeaderMap& trailers) {
  const Lock lock(mutex_);
  if (stream.closed || connection_ == nullptr) return;
  stream.out.append(bytes);
  for (std::size_t i = 0; i < trailers.size(); ++i) {
    stream.out_trailers.add(trailers.at(i).name, trailers.at(i).value);
  }
  recount(stream);
  session_.out_ended(stream);
}

void Http2Connection::reset(Http2Stream& stream, Http2Error error) {
  const Lock lock(mutex_);
  if (connection_ != nullptr) session_.reset(stream, error);
}

void Http2Connection::give_up(Http2Stream& stream) noexcept {
  Lock lock(mutex_);
  stream.work = Http2Stream::Work::kAnswered;
  --running_;
  break_off();
  if (connection_ != nullptr) return;
  const bool last = running_ == 0;
  lock.unlock();
  if (last) engine_.connection_destroyed();
}

void Http2Connection::finish(Http2Stream& stream, EngineThread& thread) {
  Lock lock(mutex_);
  stream.work = Http2Stream::Work::kAnswered;
  --running_;
  const bool closed = stream.closed;
  if (closed) {
    session_.release(stream);
    if (session_.streams().empty()) idle_since_ = thread.now();
  }
  if (connection_ == nullptr) {
    const bool last = running_ == 0;
    lock.unlock();
    if (last) engine_.connection_destroyed();
    return;
  }
  if (thread.leads_any()) return;
  (void)pump(&thread.counters);
  wake_leader_if_needed();
  run_deferred(lock);
}

}  // namespace vigil::http
