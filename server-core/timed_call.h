// TimedCall: one activation of a handler under handler_timeout(), between the thread that owns the
// connection (outer) and the thread that runs the handler (inner).
//
//   kRunning ── inner: finish() ──▶ kDone       outer delivers the buffer
//       └────── outer: give_up() ─▶ kGivenUp    503 is out; nobody looks at the buffer any more
//
// The inner thread alone touches the request, the header map and the body, until kDone hands them
// to the outer one. Shared by both; whoever is last frees it.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "server-core/handler.h"
#include "server-core/request_log.h"
#include "server-core/timeout_pool.h"

namespace vigil::http {

class TimedCall final : public RequestTransport, public ResponseWriter {
 public:
  // Copies what the handler may look at. `parent`: the outer thread's task.
  TimedCall(TimeoutPool& pool, const Request& outer, leakwatch::TaskId parent,
            MonotonicTime started, MonotonicTime gives_up_at, std::size_t response_bytes_max);

  // --- Inner thread.
  void run(const Handler& handler);

  // --- Outer thread.
  // Waits, and reads the body on the handler's behalf. false: the deadline has passed, and the
  // handler has been given up.
  bool wait(ResponseWriter& response, Request& outer);
  // After wait() was true: writes the handler's answer, or throws what it threw.
  void deliver(ResponseWriter& response, Request& outer);
  void stop() { stop_.request_stop(); }

  // --- RequestTransport, for the inner thread.
  Result<std::size_t> read_body(std::span<char> into) override;
  const HeaderMap& trailers() const override { return trailers_; }
  HostPort remote_address() const override { return peer_; }
  std::shared_ptr<const TlsInfo> tls() const override { return tls_; }
  std::stop_token stop_token() override { return stop_.get_token(); }
  MonotonicTime write_deadline() const override { return write_deadline_; }
  MonotonicTime read_deadline() const override { return read_deadline_; }
  // The outer request's values, under this call's deadline and token.
  Context context() override {
    return outer_context_.for_request(write_deadline_, stop_.get_token(), nullptr);
  }
  RouteAdmission enter_route(HandlerProfile& profile, leakwatch::TaskId task) override;

  // --- ResponseWriter, for the inner thread.
  HeaderMap& headers() override { return headers_; }
  void status(int code) override { status_ = code; }
  Result<void> write(std::string_view bytes) override;
  Result<void> flush() override;
  void set_write_deadline(MonotonicTime deadline) override { wanted_write_deadline_ = deadline; }
  void set_read_deadline(MonotonicTime deadline) override {
    read_deadline_ = std::min(deadline, gives_up_at_);
  }
  bool head_sent() const override { return false; }
  bool reset() override;
  int status_code() const override { return status_; }
  std::uint64_t body_bytes() const override { return body_.size(); }
  Result<void> set_trailer(std::string_view name, std::string_view value) override;

 private:
  enum class State : std::uint8_t { kRunning, kDone, kGivenUp };

  void copy_head(const Request& outer);
  void finish(std::exception_ptr error);
  void give_up_locked();
  void read_for_inner(ResponseWriter& response, Request& outer, std::unique_lock<std::mutex>& lock);
  bool given_up() const;

  TimeoutPool& pool_;
  const leakwatch::TaskId parent_;
  const MonotonicTime started_;
  const MonotonicTime gives_up_at_;
  const std::size_t response_bytes_max_;

  // The head, owned.
  std::string text_;  // what the views below look into
  std::vector<HeaderField> fields_;
  Request::Head head_;
  Request request_;
  HostPort peer_;
  const std::shared_ptr<const TlsInfo> tls_;
  std::optional<RequestScope> scope_;
  MonotonicTime write_deadline_;
  MonotonicTime read_deadline_;  // the inner thread's; the outer one reads it while that waits
  std::stop_source stop_;
  const Context outer_context_;

  // The answer: the inner thread's until kDone.
  HeaderMap headers_;
  int status_ = 200;
  std::string body_;
  bool too_long_ = false;
  HeaderMap response_trailers_;
  std::optional<MonotonicTime> wanted_write_deadline_;
  HeaderMap trailers_;  // the request's

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable outer_wake_;
  std::condition_variable inner_wake_;
  State state_ = State::kRunning;
  std::exception_ptr error_;
  std::string_view route_;  // found inside, where the router is inside
  pid_t tid_ = 0;
  leakwatch::TaskId task_ = leakwatch::TaskId::kNone;
  std::optional<std::span<char>> wanted_read_;  // the inner thread waits for it
  std::optional<Result<std::size_t>> read_;     // the answer to it
};

}  // namespace vigil::http
