// Http2Exchange: one request and its response on an HTTP/2 stream, as the handler's thread sees
// them: HTTP/2's side of RequestTransport, and its ResponseWriter. Reused from stream to stream.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "server-core/deadline_timer.h"
#include "server-core/http2_connection.h"
#include "server-core/request.h"
#include "server-core/response_base.h"

namespace vigil::http {

class Http2Exchange;

class Http2Response final : public ResponseBase {
 public:
  explicit Http2Response(Http2Exchange& exchange);

  void begin(std::string_view method) { begin_base(method); }

  void set_write_deadline(MonotonicTime deadline) override;
  void set_read_deadline(MonotonicTime deadline) override;
  // hijack() is `unsupported`: the connection carries other streams too (RFC 9113 has no way out of it).

  // --- For the exchange.

  // Submits what is left, without blocking. false: it cannot be ended as it was begun.
  [[nodiscard]] bool finish();

 private:
  Result<void> send_buffered(std::string_view more) override;
  Result<void> send_interim(int status, const HeaderMap& fields) override;
  bool can_have_trailers() const override {
    return head_sent() ? phase_ == Phase::kBody : !head_request_;
  }
  void compose_fields(std::string_view unbuffered, std::optional<std::uint64_t> length);
  void add_field(std::string_view name, std::string_view value) {
    fields_.push_back({name, value});
  }
  void submit_head(Http2Session::Body body);

  Http2Exchange& exchange_;
  std::vector<HeaderField> fields_;  // scratch
  std::string length_text_;
  std::string trailer_names_;
};

class Http2Exchange final : public RequestTransport {
 public:
  static constexpr bool kOwnsConnection = false;

  explicit Http2Exchange(EngineThread& thread);

  // Starts on a stream that take_ready() gave. false: the target is not acceptable (400).
  bool begin(std::shared_ptr<Http2Connection> connection, Http2Stream& stream);
  // The stream waits for a slot: it is not ours until it is begun again.
  void put_back();
  // The handler has returned: its context is stopped, and nothing of it is watched any more.
  void end_handler();
  // Submits the rest of the response, or resets the stream; gives the stream back. `now` is the
  // handler's end.
  void finish(MonotonicTime now);

  // --- As Exchange's, for EngineThread.
  void abandon_response() { response_.abandon(); }
  // The handler's thread is being cancelled.
  void cancel();
  Request& request() { return request_; }
  Http2Response& response() { return response_; }

  Result<std::size_t> read_body(std::span<char> into) override;
  const HeaderMap& trailers() const override;
  HostPort remote_address() const override { return connection_->peer(); }
  std::stop_token stop_token() override;
  MonotonicTime write_deadline() const override { return stream_->write_deadline; }
  MonotonicTime read_deadline() const override { return stream_->read_deadline; }
  Context context() override;
  void refuse_body() override { response_.refuse_body(); }
  RouteAdmission enter_route(HandlerProfile& profile, leakwatch::TaskId task) override;

  // --- For Http2Response.
  EngineThread& thread() { return thread_; }
  Http2Connection& connection() { return *connection_; }
  Http2Stream& stream() { return *stream_; }
  void move_write_deadline(MonotonicTime deadline);
  void set_read_deadline(MonotonicTime deadline) { stream_->read_deadline = deadline; }

 private:
  struct StopStream {
    Http2Exchange* exchange;
    void operator()() const { exchange->connection_->request_stop(*exchange->stream_); }
  };

  Result<void> send_continue();

  EngineThread& thread_;
  std::shared_ptr<Http2Connection> connection_;
  Http2Stream* stream_ = nullptr;
  Request request_;
  Http2Response response_;
  bool continue_pending_ = false;
  std::uint64_t body_bytes_ = 0;
  std::optional<Error> body_error_;
  DeadlineTimer::Entry write_cut_;
  std::optional<std::stop_callback<StopStream>> parent_stop_;
};

}  // namespace vigil::http
