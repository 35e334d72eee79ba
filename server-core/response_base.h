// ResponseBase: what the response writers of HTTP/1.x and HTTP/2 have in common: the fields and the
// status with their rules, the buffer, what a body's type is, and what is logged and counted.
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
  bool reset() override;
  int status_code() const override { return status_; }
  std::uint64_t body_bytes() const override { return written_; }

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
  explicit ResponseBase(EngineThread& thread) : thread_(thread) {}

  void begin_base(std::string_view method);
  Result<void> fail(Error error);
  bool bodyless_status() const { return status_ == 204 || status_ == 304; }
  bool untouched() const { return !status_set_ && written_ == 0; }
  // The Content-Length that the handler has set, if it is a number.
  std::optional<std::uint64_t> declared_length();
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
  // What the handler did to the head when it was out.
  void note_late_changes(const Request& request);
  // The handler has returned without a word after its request's body was refused.
  void answer_refused_body() {
    if (body_refused_ && untouched()) reset_to_error(413, "the request's body is too long");
  }
  static Counter status_counter(int status);

  EngineThread& thread_;
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
};

}  // namespace vigil::http
