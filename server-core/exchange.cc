#include "server-core/exchange.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

constexpr std::size_t kRawBytes = 16 * 1024;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// Drops the first `bytes` of `parts`.
void advance(std::span<iovec>& parts, std::size_t bytes) {
  while (!parts.empty() && bytes >= parts.front().iov_len) {
    bytes -= parts.front().iov_len;
    parts = parts.subspan(1);
  }
  if (bytes == 0) return;
  parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + bytes;
  parts.front().iov_len -= bytes;
}

}  // namespace

Exchange::Exchange(EngineThread& thread) : thread_(thread), response_(*this) {}

bool Exchange::begin(Connection& connection, const Request::Head& head, const Framing& framing,
                     std::string_view input) {
  const Engine& engine = thread_.engine();
  connection_ = &connection;
  route_entered_ = false;
  hijacked_ = false;
  keep_alive_ = framing.keep_alive;
  continue_pending_ = framing.expect_continue;
  input_ = input;
  body_error_.reset();
  body_left_ = framing.content_length;
  body_ = Body::kComplete;
  if (framing.chunked) {
    body_ = Body::kChunked;
    chunks_.emplace(ChunkedDecoder::Limits{engine.options.max_body_bytes,
                                           engine.options.max_header_bytes,
                                           engine.options.max_header_fields});
  } else if (framing.content_length > 0) {
    body_ = Body::kLength;
  }
  if (body_ == Body::kComplete) {
    continue_pending_ = false;
    if (chunks_) chunks_.reset();
  }
  read_deadline_ = deadline_after(connection.began, engine.timeouts.read);
  set_write_deadline(deadline_after(thread_.now(), engine.timeouts.write));
  response_.begin(head.method, head.version, keep_alive_);
  thread_.prepare_context(connection);
  return request_.reset(head, *this, thread_.now());
}

// --- Reading.

Error Exchange::fail_body(Error error) {
  body_error_ = error;
  response_.close_after();
  return error;
}

Result<std::size_t> Exchange::read_body(std::span<char> into) {
  if (body_error_) return *body_error_;
  if (body_ == Body::kComplete || into.empty()) return std::size_t{0};
  if (continue_pending_) {
    if (Result<void> sent = send_continue(); !sent) return fail_body(std::move(sent).error());
  }
  return body_ == Body::kLength ? read_length(into) : read_chunked(into);
}

Result<void> Exchange::send_continue() {
  continue_pending_ = false;
  // With the final status on its way, an interim one would be taken for the next response.
  if (response_.head_sent()) return {};
  iovec part{const_cast<char*>(kContinue.data()), kContinue.size()};  // NOLINT: not written
  return send_all(std::span(&part, 1));
}

Result<std::size_t> Exchange::read_length(std::span<char> into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), body_left_)));
  std::size_t got = std::min(into.size(), input_.size());
  if (got > 0) {
    std::copy_n(input_.data(), got, into.data());
    input_.remove_prefix(got);
  } else {
    Result<std::size_t> received = receive(into);
    if (!received) return fail_body(std::move(received).error());
    got = *received;
  }
  body_left_ -= got;
  if (body_left_ == 0) body_ = Body::kComplete;
  return got;
}

Result<std::size_t> Exchange::read_chunked(std::span<char> into) {
  while (true) {
    const ChunkedDecoder::Step step = chunks_->decode(input_, into.data(), into.size());
    input_.remove_prefix(step.consumed);
    switch (step.status) {
      case ChunkedDecoder::Status::kEnd:
        body_ = Body::kComplete;
        return step.produced;
      case ChunkedDecoder::Status::kMalformed:
        return fail_body(Error(ErrorCode::kInvalidArgument, std::string(chunks_->error())));
      case ChunkedDecoder::Status::kTooLong:
        refuse_body();
        return fail_body(Error(ErrorCode::kResourceExhausted, std::string(chunks_->error())));
      case ChunkedDecoder::Status::kMore:
      case ChunkedDecoder::Status::kOutputFull:
        break;
    }
    if (step.produced > 0) return step.produced;
    if (Result<void> filled = refill_raw(); !filled) {
      return fail_body(std::move(filled).error());
    }
  }
}

Result<void> Exchange::refill_raw() {
  raw_.resize(kRawBytes);
  Result<std::size_t> received = receive(raw_);
  if (!received) return std::move(received).error();
  input_ = {raw_.data(), *received};
  return {};
}

// At least one byte of the body from the socket.
Result<std::size_t> Exchange::receive(std::span<char> into) {
  while (true) {
    const ssize_t got = connection_->receive(into.data(), into.size());
    if (got > 0) {
      thread_.counters.add(Counter::kBytesReceived, got);
      return static_cast<std::size_t>(got);
    }
    if (got == 0) return Error(ErrorCode::kClosed, "the client closed inside the body");
    if (errno == EINTR) {
      // A channel says so after a batch of what was not for us, as often as the client likes.
      if (forbid_blocking_) return Error(ErrorCode::kBusy, "nothing to read");
      if (thread_.read_clock() < read_deadline_) continue;
      thread_.counters.add(Counter::kTimeoutRead);
      return Error(ErrorCode::kDeadlineExceeded, "reading the body: deadline passed");
    }
    if (errno != EAGAIN) return Error(ErrorCode::kClosed, "the connection broke inside the body");
    Result<void> waited = wait_for(POLLIN, read_deadline_);
    if (waited) continue;
    if (waited.error().code() == ErrorCode::kDeadlineExceeded && !forbid_blocking_) {
      thread_.counters.add(Counter::kTimeoutRead);
    }
    return std::move(waited).error().with_context("reading the body");
  }
}

// Blocks this thread, which first gives its poller away if it leads one.
Result<void> Exchange::wait_for(short events, MonotonicTime deadline) {
  if (forbid_blocking_) return Error(ErrorCode::kBusy, "nothing to read");
  if (!thread_.hand_over()) {
    return Error(ErrorCode::kResourceExhausted, "no thread is free to poll meanwhile");
  }
  while (true) {
    const MonotonicTime now = thread_.read_clock();
    if (now >= deadline) return Error(ErrorCode::kDeadlineExceeded, "deadline passed");
    if (connection_->flags.load(std::memory_order_acquire) & Connection::kForcedDown) {
      return Error(ErrorCode::kClosed, "the server is going down");
    }
    pollfd waited{connection_->fd.get(), connection_->events_for(events), 0};
    const int ready = ::poll(&waited, 1, poll_timeout_ms(now, deadline));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Error::from_errno("poll", errno);
  }
}

const HeaderMap& Exchange::trailers() const {
  static const HeaderMap kNone;
  return chunks_ && body_ == Body::kComplete ? chunks_->trailers() : kNone;
}

HostPort Exchange::remote_address() const { return connection_->peer.to_host_port(); }

int Exchange::descriptor() const noexcept { return connection_->fd.get(); }

std::shared_ptr<const TlsInfo> Exchange::tls() const {
  return connection_->channel ? connection_->channel->tls() : nullptr;
}

// --- The context.

const Context& Exchange::parent_context() const {
  return connection_->has_context ? connection_->context : thread_.engine().options.base_context;
}

void Exchange::StopConnection::operator()() const { connection->request_stop(); }

std::stop_token Exchange::stop_token() {
  const std::stop_token& parent = parent_context().stop_token();
  // A parent's stop is final, as a connection's is.
  if (!parent_stop_ && parent.stop_possible()) {
    parent_stop_.emplace(parent, StopConnection{connection_});
  }
  return connection_->stop_token();
}

Context Exchange::context() {
  return parent_context().for_request(write_deadline(), stop_token(),
                                      thread_.engine().deadline_timer);
}

void Exchange::end_handler() {
  parent_stop_.reset();
  write_cut_.cancel();
  connection_->end_stop_scope();
}

void Exchange::refuse_body() {
  response_.close_after();
  response_.refuse_body();
}

MonotonicTime Exchange::write_deadline() const { return connection_->get_deadline(); }

// The poller looks at a connection under a handler within the shortest of the server's timeouts:
// soon enough for a deadline that moves on, not for one that moves nearer.
void Exchange::move_write_deadline(MonotonicTime deadline) {
  const bool nearer = deadline < write_deadline();
  set_write_deadline(deadline);
  if (!nearer) return;
  Engine& engine = thread_.engine();
  write_cut_ = engine.deadline_timer->at(deadline, [connection = connection_, &engine] {
    if (connection->get_deadline() > engine.clock.now()) return;  // it has moved on again
    ::shutdown(connection->fd.get(), SHUT_RDWR);
    connection->request_stop();
  });
}

void Exchange::set_write_deadline(MonotonicTime deadline) { connection_->set_deadline(deadline); }

RouteAdmission Exchange::enter_route(HandlerProfile& profile, leakwatch::TaskId task) {
  route_entered_ = true;
  return thread_.enter_route(profile, task) ? RouteAdmission::kRun : RouteAdmission::kBusy;
}

// --- Writing.

bool Exchange::send_some(std::span<iovec>& parts) {
  while (!parts.empty()) {
    const ssize_t sent = connection_->send(parts);
    if (sent >= 0) {
      thread_.counters.add(Counter::kBytesSent, sent);
      advance(parts, static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      return true;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

Result<void> Exchange::send_all(std::span<iovec> parts) {
  while (true) {
    // Looked at before each send: a slow reader that takes a little each time must not outlive the
    // deadline.
    if (thread_.read_clock() >= write_deadline()) {
      thread_.counters.add(Counter::kTimeoutWrite);
      return Error(ErrorCode::kDeadlineExceeded, "the write deadline passed");
    }
    if (!send_some(parts)) return Error(ErrorCode::kClosed, "the client is gone");
    if (parts.empty()) return {};
    Result<void> waited = wait_for(POLLOUT, write_deadline());
    if (waited) continue;
    if (waited.error().code() == ErrorCode::kDeadlineExceeded) {
      thread_.counters.add(Counter::kTimeoutWrite);
    }
    return std::move(waited).error().with_context("writing the response");
  }
}

// --- Hijacking.

Result<HijackedConnection> Exchange::hijack() {
  Engine& engine = thread_.engine();
  if (!thread_.hand_over()) {
    return Error(ErrorCode::kResourceExhausted, "no thread is free to poll meanwhile");
  }
  // A second descriptor of the socket, so that the poller can go on using the first one's number
  // until it has forgotten it.
  UniqueFd socket(::fcntl(connection_->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!socket) return Error::from_errno("cannot hijack the connection: dup", errno);
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return Error::from_errno("cannot hijack the connection: fcntl", errno);
  }
  HijackedConnection hijacked = engine.hijacked->add(std::move(socket), connection_->channel,
                                                     std::string(input_), remote_address());
  body_error_ = Error(ErrorCode::kClosed, "the connection has been hijacked");
  // From here on nothing can fail.
  input_ = {};
  write_cut_.cancel();
  set_write_deadline(kNoDeadline);
  hijacked_ = true;
  thread_.counters.add(Counter::kHijacked);
  thread_.set_state(*connection_, ConnectionState::kClosed);
  thread_.announce(*connection_, ConnState::kHijacked);
  connection_->flags.fetch_or(Connection::kHijacked, std::memory_order_release);
  connection_->poller->give(*connection_);
  return hijacked;
}

// --- The end.

// Whether the connection can go on behind what the handler did not read, and what must be skipped
// for that.
void Exchange::plan_rest(Ending& ending) {
  ending.discard = 0;
  if (body_error_) {
    ending.close = ending.linger = true;
    return;
  }
  if (body_ == Body::kChunked && !continue_pending_ && finish_chunked_now()) return;
  if (body_ == Body::kComplete) return;
  if (continue_pending_ || body_ == Body::kChunked || body_left_ > kDiscardBytesMax) {
    ending.close = ending.linger = true;
    return;
  }
  const auto here = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, input_.size()));
  input_.remove_prefix(here);
  body_left_ -= here;
  ending.discard = body_left_;
}

// Reads on through a chunked body as far as it has come. true if that was its end.
bool Exchange::finish_chunked_now() {
  forbid_blocking_ = true;
  std::array<char, 4096> ignored;
  std::uint64_t seen = 0;
  while (body_ != Body::kComplete && !body_error_ && seen < kDiscardBytesMax) {
    Result<std::size_t> got = read_chunked(ignored);
    if (got) seen += *got;
  }
  forbid_blocking_ = false;
  body_error_.reset();
  return body_ == Body::kComplete;
}

Exchange::Ending Exchange::finish(MonotonicTime now) {
  Ending ending;
  if (hijacked_) {
    ending.response = Ending::Response::kHijacked;
    return ending;
  }
  const bool late = now >= write_deadline();
  const bool forced = connection_->flags.load(std::memory_order_relaxed) & Connection::kForcedDown;
  if (late || forced) {
    // P2.5: never a late answer.
    if (late) thread_.counters.add(Counter::kTimeoutWrite);
    ending.response = Ending::Response::kCut;
    return ending;
  }
  if (body_error_ && response_.promised_success()) {
    // P1.21: half a request must not get what looks like the whole answer to all of it.
    ending.response = Ending::Response::kCut;
    return ending;
  }
  plan_rest(ending);
  if (ending.close) response_.close_after();
  switch (response_.finish()) {
    case ResponseStream::End::kSent:
      ending.response = Ending::Response::kSent;
      break;
    case ResponseStream::End::kWaits:
      ending.response = Ending::Response::kWaits;
      break;
    case ResponseStream::End::kCut:
      ending.response = Ending::Response::kCut;
      break;
  }
  if (response_.closes()) {
    // If the client did not ask for it, it may be sending its next request: linger, lest a reset
    // overtakes the answer.
    ending.close = true;
    ending.linger |= keep_alive_;
  }
  return ending;
}

}  // namespace vigil::http
