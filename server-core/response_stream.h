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
#include "server-core/response_writer.h"

namespace vigil::http {

class Exchange;

class ResponseStream final : public ResponseWriter {
 public:
  static constexpr std::size_t kBufferBytes = 32 * 1024;

  explicit ResponseStream(Exchange& exchange) : exchange_(exchange) {}

  void begin(std::string_view method, HttpVersion version, bool client_keeps_alive);

  HeaderMap& headers() override { return headers_; }
  void status(int code) override;
  Result<void> write(std::string_view bytes) override;
  Result<void> flush() override;
  void set_write_deadline(MonotonicTime deadline) override;
  void set_read_deadline(MonotonicTime deadline) override;
  bool head_sent() const override { return mode_ != Mode::kOpen; }
  bool reset() override;
  int status_code() const override { return status_; }
  std::uint64_t body_bytes() const override { return written_; }
  Result<void> set_trailer(std::string_view name, std::string_view value) override;
  Result<void> inform(int status, const HeaderMap& fields) override;
  Result<HijackedConnection> hijack() override;

  // --- For the engine.

  // Forgets what has been written. Only while the head is not out.
  void reset_to_error(int code, std::string_view message);
  // The handler has failed: 500 instead, or a cut connection if the head is out.
  void abandon();
  // Whether the client has been told that all is well: a head with less than 400 is out.
  bool promised_success() const { return head_sent() && status_ < 400; }
  // The connection ends with this response.
  void close_after() { close_ = true; }
  bool closes() const { return close_; }
  // The request's body was refused as too long: 413, if the handler says nothing.
  void refuse_body() { body_refused_ = true; }
  bool failed() const { return error_.has_value(); }

  enum class End : std::uint8_t { kSent, kWaits, kCut };
  // Sends what is left without blocking; what the socket does not take goes to the connection's
  // output.
  End finish();

 private:
  enum class Mode : std::uint8_t { kOpen, kNoBody, kLength, kChunked, kUntilClose };

  bool bodyless_status() const { return status_ == 204 || status_ == 304; }
  bool untouched() const { return !status_set_ && written_ == 0; }
  bool wants_trailers() const;
  std::optional<std::uint64_t> declared_length();
  void choose_mode_for_end();
  void choose_mode_for_stream();
  void compose_head(std::string_view unbuffered);
  bool takes_connection(std::string_view value);
  bool append_fields();
  void append_content_type(std::string_view unbuffered);
  void append_trailer_names();
  void append_trailers(std::string& out) const;
  void note_late_changes();
  Result<void> send_buffered(std::string_view more);
  Result<void> fail(Error error);

  Exchange& exchange_;
  HeaderMap headers_;
  HeaderMap trailers_;
  int status_ = 200;
  bool status_set_ = false;
  bool status_late_ = false;
  bool body_refused_ = false;
  std::uint32_t changes_at_head_ = 0;  // headers_.changes() when the head went out
  std::string_view sniffed_type_;      // of a body that HEAD does not keep
  Mode mode_ = Mode::kOpen;
  bool head_request_ = false;
  bool http10_ = false;
  bool client_keeps_alive_ = false;
  bool close_ = false;
  std::uint64_t length_ = 0;   // in kLength: the Content-Length
  std::uint64_t written_ = 0;  // body bytes that the handler has written
  std::string head_;           // composed, not sent yet
  std::string body_;           // written, not sent yet
  std::optional<Error> error_;
};

}  // namespace vigil::http
