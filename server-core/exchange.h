// Exchange: one request and its response on one connection, as the handler's thread sees them.
// HTTP/1.x's side of RequestTransport; owns the Request and the ResponseStream, all reused from
// request to request.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server-core/chunked_decoder.h"
#include "server-core/deadline_timer.h"
#include "server-core/head_rules.h"
#include "server-core/hijack.h"
#include "server-core/request.h"
#include "server-core/response_stream.h"

namespace vigil::http {

struct Connection;
class EngineThread;

class Exchange final : public RequestTransport {
 public:
  // What a handler may leave unread of a body without losing the connection (P1.16).
  static constexpr std::uint64_t kDiscardBytesMax = 256 * 1024;

  // The thread that runs its handler owns the connection.
  static constexpr bool kOwnsConnection = true;

  // How it ended, and so what becomes of the connection.
  struct Ending {
    enum class Response : std::uint8_t { kSent, kWaits, kCut, kHijacked };
    Response response = Response::kSent;  // kWaits: the rest is in Connection::output
    bool close = false;                   // after the response
    bool linger = false;        // the client may still be sending: a plain close would reset
    std::uint64_t discard = 0;  // bytes of the body that have not come yet and nobody wants
  };

  explicit Exchange(EngineThread& thread);

  // Starts on a request; `input` is what has been received behind its head. false: the target is
  // not acceptable (400).
  bool begin(Connection& connection, const Request::Head& head, const Framing& framing,
             std::string_view input);
  // The handler has returned: its context is stopped, and nothing of it is watched any more.
  void end_handler();
  // Sends the rest of the response as far as the socket takes it, without blocking. `now` is the
  // handler's end.
  Ending finish(MonotonicTime now);

  // The handler has thrown: 500, or a cut connection if the head is out.
  void abandon_response() { response_.abandon(); }

  Request& request() { return request_; }
  ResponseStream& response() { return response_; }
  bool route_entered() const { return route_entered_; }
  // What is behind the body, once that is complete; valid until begin().
  std::string_view rest() const { return input_; }
  // Whether `bytes` are in the exchange's own buffer.
  bool owns(std::string_view bytes) const {
    return bytes.data() >= raw_.data() && bytes.data() < raw_.data() + raw_.size();
  }

  Result<std::size_t> read_body(std::span<char> into) override;
  const HeaderMap& trailers() const override;
  HostPort remote_address() const override;
  int descriptor() const noexcept override;
  std::shared_ptr<const TlsInfo> tls() const override;
  std::stop_token stop_token() override;
  MonotonicTime write_deadline() const override;
  MonotonicTime read_deadline() const override { return read_deadline_; }
  Context context() override;
  void refuse_body() override;
  RouteAdmission enter_route(HandlerProfile& profile, leakwatch::TaskId task) override;

  // --- For ResponseStream.
  Connection& connection() { return *connection_; }
  EngineThread& thread() { return thread_; }
  // Sends all of it; blocks, after this thread has stopped polling, until the write deadline.
  Result<void> send_all(std::span<iovec> parts);
  // Sends what the socket takes at once and advances `parts`. false if the connection is broken.
  bool send_some(std::span<iovec>& parts);
  // By the handler.
  void move_write_deadline(MonotonicTime deadline);
  void set_read_deadline(MonotonicTime deadline) { read_deadline_ = deadline; }
  // The client was promised a 100 that it did not get: it may never send the body.
  bool continue_pending() const { return continue_pending_; }
  // Parts the connection from the engine. Nothing of it may be used afterwards but its stop token.
  Result<HijackedConnection> hijack();

 private:
  enum class Body : std::uint8_t { kComplete, kLength, kChunked };
  // Stops a request's context with the context that it comes from.
  struct StopConnection {
    Connection* connection;
    void operator()() const;
  };

  void set_write_deadline(MonotonicTime deadline);
  const Context& parent_context() const;
  Result<std::size_t> read_length(std::span<char> into);
  Result<std::size_t> read_chunked(std::span<char> into);
  Result<std::size_t> receive(std::span<char> into);
  Result<void> refill_raw();
  Result<void> wait_for(short events, MonotonicTime deadline);
  Result<void> send_continue();
  Error fail_body(Error error);
  void plan_rest(Ending& ending);
  bool finish_chunked_now();

  EngineThread& thread_;
  Connection* connection_ = nullptr;
  Request request_;
  ResponseStream response_;
  bool route_entered_ = false;

  Body body_ = Body::kComplete;
  bool keep_alive_ = false;
  bool continue_pending_ = false;
  bool forbid_blocking_ = false;  // while finish() looks whether a body happens to be complete
  std::uint64_t body_left_ = 0;
  std::string_view input_;
  std::vector<char> raw_;  // chunked bytes as received
  std::optional<ChunkedDecoder> chunks_;
  std::optional<Error> body_error_;
  MonotonicTime read_deadline_{};
  bool hijacked_ = false;
  DeadlineTimer::Entry write_cut_;
  std::optional<std::stop_callback<StopConnection>> parent_stop_;
};

}  // namespace vigil::http
