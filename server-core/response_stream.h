// ResponseStream: the ResponseWriter of HTTP/1.x. A body that is whole when its head goes out leaves
// with it in one send. Another one is chunked, or has the length that its handler has declared, or in
// HTTP/1.0 ends with the connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server-core/head_rules.h"
#include "server-core/response_base.h"

namespace vigil::http {

class Exchange;

class ResponseStream final : public ResponseBase {
 public:
  explicit ResponseStream(Exchange& exchange);

  void begin(std::string_view method, HttpVersion version, bool client_keeps_alive);

  void set_write_deadline(MonotonicTime deadline) override;
  void set_read_deadline(MonotonicTime deadline) override;
  Result<HijackedConnection> hijack() override;

  // --- For the engine.

  enum class End : std::uint8_t { kSent, kWaits, kCut };
  // Sends what is left without blocking; what the socket does not take goes to the connection's
  // output.
  End finish();

 private:
  Result<void> send_buffered(std::string_view more) override;
  Result<void> send_interim(int status, const HeaderMap& fields) override;
  bool can_have_trailers() const override {
    return head_sent() ? chunked_ : !http10_ && !head_request_;
  }
  bool wants_trailers() const;
  void choose_framing_for_end();
  Result<void> choose_framing_for_stream();
  void compose_head(std::string_view unbuffered);
  bool takes_connection(std::string_view value);
  bool append_fields();
  void append_trailer_names();
  void append_trailers(std::string& out) const;

  Exchange& exchange_;
  bool http10_ = false;
  bool client_keeps_alive_ = false;
  bool chunked_ = false;
  std::string head_;  // composed, not sent yet
};

}  // namespace vigil::http
