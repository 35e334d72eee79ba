// ResponseStream: the ResponseWriter of HTTP/1.x.
//
//   kOpen ── buffer full, flush() ──▶ kLength | kChunked | kUntilClose | kNoBody      (the head is
//   out)
//     └───── end ──────────────────▶ kLength, in one send with the body
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

  Result<void> write(std::string_view bytes) override;
  Result<void> flush() override;
  void set_write_deadline(MonotonicTime deadline) override;
  void set_read_deadline(MonotonicTime deadline) override;
  bool head_sent() const override { return mode_ != Mode::kOpen; }
  Result<void> set_trailer(std::string_view name, std::string_view value) override;
  Result<void> inform(int status, const HeaderMap& fields) override;
  Result<HijackedConnection> hijack() override;

  // --- For the engine.

  enum class End : std::uint8_t { kSent, kWaits, kCut };
  // Sends what is left without blocking; what the socket does not take goes to the connection's
  // output.
  End finish();

 private:
  enum class Mode : std::uint8_t { kOpen, kNoBody, kLength, kChunked, kUntilClose };

  bool wants_trailers() const;
  void choose_mode_for_end();
  void choose_mode_for_stream();
  void compose_head(std::string_view unbuffered);
  bool takes_connection(std::string_view value);
  bool append_fields();
  void append_trailer_names();
  void append_trailers(std::string& out) const;
  Result<void> send_buffered(std::string_view more);

  Exchange& exchange_;
  Mode mode_ = Mode::kOpen;
  bool http10_ = false;
  bool client_keeps_alive_ = false;
  std::uint64_t length_ = 0;  // in kLength: the Content-Length
  std::string head_;          // composed, not sent yet
};

}  // namespace vigil::http
