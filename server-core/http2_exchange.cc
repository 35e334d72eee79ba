#include "server-core/http2_exchange.h"

#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"

namespace vigil::http {

// --- The response.

Http2Response::Http2Response(Http2Exchange& exchange)
    : ResponseBase(exchange.thread()), exchange_(exchange) {}

void Http2Response::set_write_deadline(MonotonicTime deadline) {
  exchange_.move_write_deadline(deadline);
}

void Http2Response::set_read_deadline(MonotonicTime deadline) {
  exchange_.set_read_deadline(deadline);
}

Result<void> Http2Response::send_interim(int status, const HeaderMap& fields) {
  fields_.clear();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!is_framing_field(fields.at(i).name)) fields_.push_back(fields.at(i));
  }
  thread_.counters.add(Counter::kStatus1xx);
  return exchange_.connection().inform(exchange_.stream(), status, fields_, thread_);
}

// The fields of the head, in fields_.
void Http2Response::compose_fields(std::string_view unbuffered,
                                   std::optional<std::uint64_t> length) {
  fields_.clear();
  bool has_date = false;
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    const HeaderField field = headers_.at(i);
    if (is_framing_field(field.name)) {
      close_ |=
          equals_ignoring_case(field.name, "connection") && list_has_token(field.value, "close");
      continue;
    }
    has_date |= equals_ignoring_case(field.name, "date");
    // Meant for HTTP/1.1's connection (RFC 9113 §8.2.2).
    if (equals_ignoring_case(field.name, "upgrade")) continue;
    // An empty one says that there shall be none.
    if (field.value.empty() && equals_ignoring_case(field.name, "content-type")) continue;
    fields_.push_back(field);
  }
  report_refused_fields();
  if (!has_date) add_field("date", thread_.date.get(thread_.engine().clock, thread_.now()));
  if (const std::string_view type = type_of_body(unbuffered); !type.empty()) {
    add_field("content-type", type);
  }
  if (!trailers_.empty() && !headers_.contains("trailer")) {
    trailer_names_.clear();
    for (std::size_t i = 0; i < trailers_.size(); ++i) {
      trailer_names_.append(i == 0 ? "" : ", ").append(trailers_.at(i).name);
    }
    add_field("trailer", trailer_names_);
  }
  if (!length || bodyless_status()) return;
  length_text_ = std::to_string(*length);
  add_field("content-length", length_text_);
}

void Http2Response::submit_head(Http2Session::Body body) {
  phase_ = body == Http2Session::Body::kNone ? Phase::kNoBody : Phase::kBody;
  exchange_.connection().respond(exchange_.stream(), status_, fields_, body);
  note_head();
  if (close_) exchange_.connection().end_after_streams();
}

// The head must go out before the body's end is known.
Result<void> Http2Response::send_buffered(std::string_view more) {
  if (!head_sent()) {
    if (Result<void> taken = take_declared_length(); !taken) return taken;
    compose_fields(more, length_);
    submit_head(no_body() ? Http2Session::Body::kNone : Http2Session::Body::kFollows);
  }
  Http2Connection& connection = exchange_.connection();
  Result<void> sent = connection.write(exchange_.stream(), body_, thread_);
  if (sent && !more.empty()) sent = connection.write(exchange_.stream(), more, thread_);
  body_.clear();
  return sent;
}

bool Http2Response::finish() {
  if (!settle(exchange_.request())) return false;
  if (!head_sent()) {
    const std::optional<std::uint64_t> declared = length_of_whole();
    const bool trailing = !trailers_.empty() && !no_body();
    // GET's length, where HEAD's handler has not told: what it has written.
    const bool tell = !head_request_ || declared || written_ > 0;
    compose_fields(
        {}, tell ? std::optional(head_request_ && declared ? *declared : written_) : std::nullopt);
    const bool empty = no_body() || (body_.empty() && !trailing);
    submit_head(empty ? Http2Session::Body::kNone : Http2Session::Body::kFollows);
  } else if (falls_short()) {
    return false;
  }
  if (phase_ == Phase::kBody) {
    exchange_.connection().end_response(exchange_.stream(), body_, trailers_);
  }
  return true;
}

// --- The exchange.

Http2Exchange::Http2Exchange(EngineThread& thread) : thread_(thread), response_(*this) {}

bool Http2Exchange::begin(std::shared_ptr<Http2Connection> connection, Http2Stream& stream) {
  connection_ = std::move(connection);
  stream_ = &stream;
  continue_pending_ = stream.framing.expect_continue;
  body_bytes_ = 0;
  body_error_.reset();
  response_.begin(stream.head.method);
  return request_.reset(stream.head, *this, thread_.now());
}

void Http2Exchange::put_back() {
  connection_.reset();
  stream_ = nullptr;
}

Result<void> Http2Exchange::send_continue() {
  continue_pending_ = false;
  if (response_.head_sent()) return {};
  return connection_->inform(*stream_, 100, {}, thread_);
}

Result<std::size_t> Http2Exchange::read_body(std::span<char> into) {
  if (body_error_) return *body_error_;
  if (into.empty()) return std::size_t{0};
  const auto fail = [&](Error error) {
    body_error_ = error;
    return error;
  };
  if (continue_pending_) {
    if (Result<void> sent = send_continue(); !sent) return fail(std::move(sent).error());
  }
  Result<std::size_t> got = connection_->read_body(*stream_, into, thread_);
  if (!got) return fail(std::move(got).error());
  body_bytes_ += *got;
  const std::uint64_t max = thread_.engine().options.max_body_bytes;
  if (max != 0 && body_bytes_ > max) {
    refuse_body();
    return fail(Error(ErrorCode::kResourceExhausted, "the body is too long"));
  }
  return got;
}

const HeaderMap& Http2Exchange::trailers() const {
  static const HeaderMap kNone;
  return connection_->body_read(*stream_) ? stream_->trailers : kNone;
}

std::stop_token Http2Exchange::stop_token() {
  const std::stop_token& parent = connection_->context().stop_token();
  // A parent's stop is final, as a stream's is.
  if (!parent_stop_ && parent.stop_possible()) parent_stop_.emplace(parent, StopStream{this});
  return connection_->stop_token(*stream_);
}

Context Http2Exchange::context() {
  return connection_->context().for_request(write_deadline(), stop_token(),
                                            thread_.engine().deadline_timer);
}

void Http2Exchange::end_handler() {
  parent_stop_.reset();
  write_cut_.cancel();
  connection_->end_stop_scope(*stream_);
}

// The poller looks at the connection within the shortest of the server's timeouts: soon enough for
// a deadline that moves on, not for one that moves nearer.
void Http2Exchange::move_write_deadline(MonotonicTime deadline) {
  const bool nearer = deadline < write_deadline();
  connection_->set_write_deadline(*stream_, deadline);
  if (!nearer) return;
  write_cut_ = thread_.engine().deadline_timer->at(
      deadline, [connection = connection_, stream = stream_] { connection->cut_if_late(*stream); });
}

RouteAdmission Http2Exchange::enter_route(HandlerProfile& profile, leakwatch::TaskId task) {
  return thread_.enter_route(profile, task) ? RouteAdmission::kRun : RouteAdmission::kBusy;
}

void Http2Exchange::finish(MonotonicTime now) {
  const bool late = connection_->is_late(*stream_, now);
  if (late) thread_.counters.add(Counter::kTimeoutWrite);
  // P1.21: half a request must not get what looks like the whole answer to all of it.
  const bool whole = !late && !(body_error_ && response_.promised_success());
  if (!whole || !response_.finish()) {
    connection_->reset(*stream_, late ? Http2Error::kCancel : Http2Error::kInternalError);
  }
  connection_->finish(*stream_, thread_);
  connection_.reset();
  stream_ = nullptr;
}

void Http2Exchange::cancel() {
  end_handler();
  connection_->reset(*stream_, Http2Error::kInternalError);
  connection_->finish(*stream_, thread_);
  connection_.reset();
}

}  // namespace vigil::http
