// Http2Connection's times: deadlines of streams and of answers, idle connections, pings, the last words of one that
// ends.
#include <algorithm>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"
#include "server-core/poller.h"

namespace vigil::http {

void Http2Connection::set_write_deadline(Http2Stream& stream, MonotonicTime deadline) {
  const Lock lock(mutex_);
  stream.write_deadline = deadline;
}

bool Http2Connection::is_late(Http2Stream& stream, MonotonicTime now) {
  const Lock lock(mutex_);
  return stream.late || stream.write_deadline <= now;
}

// P2.5: never a late answer.
void Http2Connection::cut(Http2Stream& stream) {
  if (std::exchange(stream.late, true)) return;
  session_.reset(stream, Http2Error::kCancel);
  stop(stream);
  stream.changed.notify_one();
}

void Http2Connection::cut_if_late(Http2Stream& stream) {
  Lock lock(mutex_);
  if (stream.write_deadline > engine_.clock.now()) return;  // it has moved on again
  try {
    cut(stream);
    (void)pump(nullptr);
  } catch (const std::bad_alloc&) {
    fail_for_memory();
  }
  run_deferred(lock);
}

void Http2Connection::terminate(Http2Error error, MonotonicTime now) {
  session_.terminate(error);
  last_words_ = std::min(last_words_, now + kLastWords);
}

MonotonicTime Http2Connection::look(EngineThread& thread) {
  Lock lock(mutex_);
  const MonotonicTime now = thread.now();
  counters_ = &thread.counters;
  MonotonicTime next = std::min(look_at_end(now), look_at_idle(now, thread.counters));
  next = std::min(next, look_at_ping(now));
  // From the back: a stream that ends gives its place to the last one.
  const auto streams = session_.streams();
  for (std::size_t i = streams.size(); i-- > 0;) {
    next = std::min(next, look_at(*streams[i], now, thread.counters));
  }
  // A handler may make its deadlines nearer, or leave the connection idle.
  if (!streams.empty()) next = std::min(next, deadline_after(now, engine_.timeouts.shortest));
  if (session_.guard().abuse()) last_words_ = std::min(last_words_, now + kLastWords);
  (void)pump(&thread.counters);
  counters_ = nullptr;
  next = std::min(next, last_words_);
  run_deferred(lock);
  return next;
}

// What is to be done for one stream when `now` has come; the next time for it.
MonotonicTime Http2Connection::look_at(Http2Stream& stream, MonotonicTime now,
                                       CounterSet& counters) {
  if (stream.reset_by_us) return kNoDeadline;
  if (!stream.head_whole) {
    // Its header block holds up every other stream.
    const MonotonicTime deadline = deadline_after(stream.began, engine_.timeouts.read_header);
    if (deadline > now) return deadline;
    counters.add(Counter::kTimeoutReadHeader);
    terminate(Http2Error::kNoError, now);
    return kNoDeadline;
  }
  switch (stream.work) {
    case Http2Stream::Work::kCollecting:
      if (stream.read_deadline > now) return stream.read_deadline;
      counters.add(Counter::kTimeoutRead);
      session_.reset(stream, Http2Error::kCancel);
      return kNoDeadline;
    case Http2Stream::Work::kQueued:
      if (stream.queue_deadline > now) return stream.queue_deadline;
      if (!take_back(stream)) return kNoDeadline;  // take_slot() comes
      stream.pass = QueuePass::kExpired;
      make_ready(stream);
      connection_->poller->report_soon(*connection_);
      return kNoDeadline;
    case Http2Stream::Work::kRunning:  // counted when the handler returns
    case Http2Stream::Work::kAnswered:
      if (stream.write_deadline > now) return stream.write_deadline;
      if (stream.work == Http2Stream::Work::kAnswered) counters.add(Counter::kTimeoutWrite);
      cut(stream);
      return kNoDeadline;
    case Http2Stream::Work::kNone:
    case Http2Stream::Work::kReady:
      return kNoDeadline;
  }
  return kNoDeadline;
}

MonotonicTime Http2Connection::look_at_end(MonotonicTime now) {
  if (!session_.greeted()) {
    const MonotonicTime deadline = deadline_after(opened_, engine_.timeouts.read_header);
    if (deadline > now) return deadline;
    if (counters_ != nullptr) counters_->add(Counter::kTimeoutReadHeader);
    terminate(Http2Error::kNoError, now);
    return kNoDeadline;
  }
  if (ending_ != Ending::kAnnounced) return kNoDeadline;
  if (ending_step_ > now && !session_.ping_answered()) return ending_step_;
  ending_ = Ending::kLastStreams;
  session_.end_after_streams();
  return kNoDeadline;
}

MonotonicTime Http2Connection::look_at_idle(MonotonicTime now, CounterSet& counters) {
  if (!session_.streams().empty() || last_words_ != kNoDeadline) return kNoDeadline;
  const MonotonicTime deadline = deadline_after(idle_since_, engine_.timeouts.idle);
  if (deadline > now) return deadline;
  counters.add(Counter::kTimeoutIdle);
  terminate(Http2Error::kNoError, now);
  return kNoDeadline;
}

MonotonicTime Http2Connection::look_at_ping(MonotonicTime now) {
  const Duration after = engine_.options.http2_ping_after;
  if (after <= Duration(0) || session_.streams().empty()) return kNoDeadline;
  if (ping_deadline_ != kNoDeadline) {
    if (session_.ping_answered()) {
      ping_deadline_ = kNoDeadline;
    } else if (ping_deadline_ > now) {
      return ping_deadline_;
    } else {
      // The peer's system may be gone without a word.
      if (counters_ != nullptr) counters_->add(Counter::kHttp2PingTimeouts);
      last_words_ = now;
      return now;
    }
  }
  if (received_ + after > now) return received_ + after;
  session_.ping();
  ping_deadline_ = deadline_after(now, engine_.options.http2_ping_timeout);
  return ping_deadline_;
}

}  // namespace vigil::http
