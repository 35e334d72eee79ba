#include "server-core/timed_call.h"

#include <cxxabi.h>

#include <algorithm>
#include <cassert>

#include "base/thread_id.h"

namespace vigil::http {
namespace {

Error past_timeout() {
  return Error(ErrorCode::kDeadlineExceeded, "the handler's timeout has passed");
}

// `from`'s fields replace those of the same names in `into`.
void replace_fields(HeaderMap& into, const HeaderMap& from) {
  for (std::size_t i = 0; i < from.size(); ++i) into.remove(from.at(i).name);
  for (std::size_t i = 0; i < from.size(); ++i) into.add(from.at(i).name, from.at(i).value);
}

}  // namespace

TimedCall::TimedCall(TimeoutPool& pool, const Request& outer, leakwatch::TaskId parent,
                     MonotonicTime started, MonotonicTime gives_up_at,
                     std::size_t response_bytes_max)
    : pool_(pool),
      parent_(parent),
      started_(started),
      gives_up_at_(gives_up_at),
      response_bytes_max_(response_bytes_max),
      peer_(outer.remote_address()),
      tls_(outer.tls()),
      write_deadline_(std::min(outer.deadline(), gives_up_at)),
      read_deadline_(std::min(outer.read_deadline(), gives_up_at)),
      outer_context_(outer.context()) {
  copy_head(outer);
  const bool good = request_.reset(head_, *this, started_);
  assert(good);  // the same head was good outside
  (void)good;
  request_.take_route_of(outer);
  route_ = outer.route();
  if (outer.scope() != nullptr) {
    scope_ = *outer.scope();
    request_.set_scope(&*scope_);
  }
}

void TimedCall::copy_head(const Request& outer) {
  std::size_t size = outer.method().size() + outer.target().size();
  for (const HeaderField& field : outer.headers()) size += field.name.size() + field.value.size();
  text_.reserve(size);  // no append below moves it
  const auto own = [&](std::string_view part) {
    const std::size_t begin = text_.size();
    text_.append(part);
    return std::string_view(text_).substr(begin);
  };
  head_.method = own(outer.method());
  head_.target = own(outer.target());
  head_.version = outer.version();
  head_.body_unannounced = outer.body_unannounced();
  fields_.reserve(outer.headers().size());
  for (const HeaderField& field : outer.headers()) {
    const std::string_view name = own(field.name);
    fields_.push_back({name, own(field.value)});
  }
  head_.headers = HeaderList(fields_);
}

// --- The inner thread.

void TimedCall::run(const Handler& handler) {
  const std::string_view route = request_.route();
  const leakwatch::TaskLabel label =
      pool_.registry().intern(route.empty() ? "handler with a timeout" : route);
  // Our own copies: the outer request is gone when this handler leaks.
  const std::string peer = format_host_port(peer_);
  const leakwatch::TaskRequest about{.method = head_.method,
                                     .target = head_.target,
                                     .request_id = http::request_id(request_),
                                     .peer = peer};
  try {
    const leakwatch::Task task(
        pool_.registry(), label,
        leakwatch::TaskStart{
            .now = started_, .parent = parent_, .gives_up_at = gives_up_at_, .request = &about});
    {
      std::lock_guard lock(mutex_);
      task_ = task.id();
      tid_ = current_thread_id();
    }
    handler(*this, request_);
  } catch (const abi::__forced_unwind&) {
    // The handler's thread is being cancelled: the client gets 500, the thread goes.
    finish(std::make_exception_ptr(AbortHandler{}));
    throw;
  } catch (...) {
    return finish(std::current_exception());
  }
  finish(nullptr);
}

void TimedCall::finish(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kGivenUp) {
    pool_.remove_leaked(this);
    if (error) pool_.log().error("exception from a handler past its timeout", {{"route", route_}});
    return;
  }
  state_ = State::kDone;
  error_ = std::move(error);
  outer_wake_.notify_one();
}

bool TimedCall::given_up() const {
  std::lock_guard lock(mutex_);
  return state_ == State::kGivenUp;
}

Result<std::size_t> TimedCall::read_body(std::span<char> into) {
  std::unique_lock lock(mutex_);
  if (state_ == State::kGivenUp) return past_timeout();
  wanted_read_ = into;
  read_.reset();
  outer_wake_.notify_one();
  // The outer thread answers every read, or gives up; it looks at its deadline itself.
  inner_wake_.wait(lock, [&] { return read_.has_value() || state_ == State::kGivenUp; });
  if (!read_) return past_timeout();
  return *read_;
}

RouteAdmission TimedCall::enter_route(HandlerProfile&, leakwatch::TaskId) {
  std::lock_guard lock(mutex_);
  route_ = request_.route();
  return RouteAdmission::kRun;
}

Result<void> TimedCall::write(std::string_view bytes) {
  if (given_up()) return past_timeout();
  too_long_ = too_long_ || body_.size() + bytes.size() > response_bytes_max_;
  if (too_long_) {
    return Error(ErrorCode::kResourceExhausted,
                 "the response is longer than what is buffered under a handler timeout");
  }
  body_.append(bytes);
  return {};
}

Result<void> TimedCall::flush() {
  if (given_up()) return past_timeout();
  return Error(ErrorCode::kUnsupported,
               "a response under a handler timeout is sent when the handler returns");
}

Result<void> TimedCall::set_trailer(std::string_view name, std::string_view value) {
  if (given_up()) return past_timeout();
  if (Result<void> ok = check_trailer(name, value); !ok) return ok;
  const bool possible = request_.version() != HttpVersion::kHttp10 && request_.method() != "HEAD";
  if (!possible) return ResponseWriter::set_trailer(name, value);
  response_trailers_.set(name, value);
  return {};
}

bool TimedCall::reset() {
  headers_.clear();
  response_trailers_.clear();
  status_ = 200;
  body_.clear();
  too_long_ = false;
  return true;
}

// --- The outer thread.

bool TimedCall::wait(ResponseWriter& response, Request& outer) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (state_ == State::kDone) return true;
    if (pool_.clock().now() >= gives_up_at_) {
      give_up_locked();
      return false;
    }
    if (wanted_read_) {
      read_for_inner(response, outer, lock);
    } else {
      pool_.clock().wait_until(lock, outer_wake_, gives_up_at_);
    }
  }
}

void TimedCall::read_for_inner(ResponseWriter& response, Request& outer,
                               std::unique_lock<std::mutex>& lock) {
  const std::span<char> into = *std::exchange(wanted_read_, std::nullopt);
  lock.unlock();
  // The client must not be waited for longer than the handler.
  response.set_read_deadline(read_deadline_);
  Result<std::size_t> got = outer.read(into);
  if (got && *got == 0 && !into.empty()) replace_fields(trailers_, outer.trailers());
  lock.lock();
  read_ = std::move(got);
  inner_wake_.notify_one();
}

void TimedCall::give_up_locked() {
  state_ = State::kGivenUp;
  inner_wake_.notify_one();
  RunningHandler handler;
  handler.label = route_;
  handler.tid = tid_;
  handler.task = task_;
  pool_.add_leaked(this, std::move(handler), started_);
}

void TimedCall::deliver(ResponseWriter& response, Request& outer) {
  if (outer.route().empty()) outer.set_route(route_);
  if (error_) std::rethrow_exception(error_);
  if (too_long_) return write_error(response, 500);
  if (wanted_write_deadline_) response.set_write_deadline(*wanted_write_deadline_);
  if (headers_.refused() > 0) {
    pool_.log().error("response header with CR, LF, NUL or a bad name dropped",
                      {{"route", route_}, {"fields", headers_.refused()}});
  }
  replace_fields(response.headers(), headers_);
  response.status(status_);
  for (std::size_t i = 0; i < response_trailers_.size(); ++i) {
    const HeaderField field = response_trailers_.at(i);
    // A 204 or 304 has none: the handler has been told that write() drops its body, too.
    (void)response.set_trailer(field.name, field.value);
  }
  // A client that is gone is no error of ours.
  (void)response.write(body_);
}

}  // namespace vigil::http
