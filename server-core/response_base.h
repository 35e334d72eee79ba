// ResponseBase: what the response writers of HTTP/1.x and HTTP/2 have in common: the fields and the
// status with their rules, the buffer, the lengths, what a body's type is, and what is logged and
// counted. What is left to them is how a head and a body go out.
//
//   kOpen ── buffer full, flush() ──▶ kBody | kNoBody      (the head is out)
//     └───── end ───────────────────▶ kBody | kNoBody
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server-core/content_type.h"
#include "server-core/counters.h"
#include "server-core/response_writer.h"

namespace vigil::http {

class EngineThread;
class Request;

class ResponseBase : public ResponseWriter {
 public:
  static constexpr std::size_t kBufferBytes = 32 * 1024;

  HeaderMap& headers() override { return headers_; }
  void status(int code) override;
  // Only what does not fit into the buffer costs a call of the protocol's.
  Result<void> write(std::string_view bytes) final;
  Result<void> flush() final;
  bool head_sent() const final { return phase_ != Phase::kOpen; }
  bool reset() override;
  int status_code() const override { return status_; }
  std::uint64_t body_bytes() const override { return written_; }
  Result<void> set_trailer(std::string_view name, std::string_view value) final;
  Result<void> inform(int status, const HeaderMap& fields) final;

  // --- For the engine.

  // Forgets what has been written. Only while the head is not out.
  void reset_to_error(int code, std::string_view message);
  // The handler has failed: 500 instead, or a cut response if the head is out.
  void abandon();
  // Whether the client has been told that all is well: a head with less than 400 is out.
  bool promised_success() const { return head_sent() && status_ < 400; }
  // The connection ends with this response.
  void close_after() { close_ = true; }
  bool closes() const { return close_; }
  // The request's body was refused as too long: 413, if the handler says nothing.
  void refuse_body() { body_refused_ = true; }
  bool failed() const { return error_.has_value(); }

 protected:
  enum class Phase : std::uint8_t { kOpen, kNoBody, kBody };

  explicit ResponseBase(EngineThread& thread) : thread_(thread) {}

  // Sends what is in the buffer and `more`, the head in front if it is not out yet.
  virtual Result<void> send_buffered(std::string_view more) = 0;
  // Sends an informational response; `status` has been checked.
  virtual Result<void> send_interim(int status, const HeaderMap& fields) = 0;
  // Whether a trailer section can follow this response, as far as is known.
  virtual bool can_have_trailers() const = 0;

  void begin_base(std::string_view method);
  bool bodyless_status() const { return status_ == 204 || status_ == 304; }
  bool no_body() const { return head_request_ || bodyless_status(); }
  // The head goes out before the body's end is known: length_ is what the handler has declared, if
  // it has; invalid_argument if it has written more already.
  Result<void> take_declared_length();
  // The body is whole: the length that the handler has declared for it. If it has written another
  // one, which is logged, the answer is 500 instead.
  std::optional<std::uint64_t> length_of_whole() {
    const std::optional<std::uint64_t> declared = declared_length();
    if (!declared || *declared == written_ || no_body()) return declared;
    refuse_length(*declared);
    return std::nullopt;
  }
  // The client has been told of more than was written: it must not take what it got for the whole.
  bool falls_short() const { return phase_ == Phase::kBody && length_ && written_ != *length_; }
  // For HEAD: what GET's body would begin with.
  void note_unsent(std::string_view bytes) {
    if (head_request_ && written_ == 0) sniffed_type_ = detect_content_type(bytes);
  }
  // The type that the response is given, because it has none and its body looks like it; empty for
  // none. `unbuffered` comes behind what is in the buffer.
  std::string_view type_of_body(std::string_view unbuffered) const;
  // Whether the field goes out as it is: not the framing fields, which are the server's.
  static bool is_framing_field(std::string_view name);
  // Counts and logs fields that HeaderMap refused.
  void report_refused_fields();
  // The head goes out now: counts its status, and remembers it for note_late_changes().
  void note_head();
  // The handler has returned. Where the head is not out, what the answer is in the end: 500 after an
  // error, 413 if the request's body was refused and the handler said nothing. false: the head is
  // out, and the body behind it has failed.
  [[nodiscard]] bool settle(const Request& request) {
    return (!head_sent() && !error_ && !body_refused_) || settle_fault(request);
  }
  static Counter status_counter(int status);

  EngineThread& thread_;
  Phase phase_ = Phase::kOpen;
  std::optional<std::uint64_t> length_;  // of the body, if the client has been or will be told
  HeaderMap headers_;
  HeaderMap trailers_;
  int status_ = 200;
  bool status_set_ = false;
  bool status_late_ = false;
  bool body_refused_ = false;
  bool head_request_ = false;
  bool close_ = false;
  std::uint32_t changes_at_head_ = 0;  // headers_.changes() when the head went out
  std::string_view sniffed_type_;      // of a body that HEAD does not keep
  std::uint64_t written_ = 0;          // body bytes that the handler has written
  std::string body_;                   // written, not sent yet
  std::optional<Error> error_;

 private:
  bool settle_fault(const Request& request);
  void refuse_length(std::uint64_t declared);
  bool untouched() const { return !status_set_ && written_ == 0; }
  // An error is final.
  Result<void> keep_error(Result<void> result);
  // What the handler did to the head when it was out.
  void note_late_changes(const Request& request);
  // The Content-Length that the handler has set, if it is a number.
  std::optional<std::uint64_t> declared_length();
};

}  // namespace vigil::http
