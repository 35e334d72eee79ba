// What a request's head must be like: our own reading of RFC 9110 and 9112, strict where they allow
// leniency.
//
// Two readers look at every head: these rules, byte by byte and line by line as the bytes come in,
// and llhttp once the head is whole. What either of them refuses is refused. llhttp 8.1 alone is
// not enough: for one, it takes a bare LF at some line ends, and it knows nothing of Host. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "server-core/headers.h"
#include "server-core/request.h"

namespace vigil::http {

// Why a request is refused: the status to answer with, and a sentence for its body and the log
// (constant text).
struct Refusal {
  int status = 400;
  std::string_view reason;
};

struct HeadLimits {
  std::size_t bytes_max = 64 * 1024;
  std::size_t fields_max = 256;
};

// Follows a head as its bytes arrive. Scans each byte once, however the head is cut into pieces.
class HeadScanner {
 public:
  enum class Status : std::uint8_t { kIncomplete, kComplete, kRefused };

  // Scans on in `input`, the connection's bytes from the head's first one on: those of the earlier
  // calls and what has come since.
  Status scan(std::string_view input, const HeadLimits& limits);

  // After kComplete: where the head begins (a CRLF in front of it is skipped, RFC 9112 §2.2) and
  // the byte after it.
  std::size_t begin() const { return begin_; }
  std::size_t end() const { return offset_; }
  // After kRefused.
  Refusal refusal() const { return refusal_; }

 private:
  Status refuse(int status, std::string_view reason);
  Status end_line(std::string_view line, const HeadLimits& limits);
  Status over_limit();

  std::uint32_t offset_ = 0;  // scanned so far
  std::uint32_t begin_ = 0;
  std::uint32_t line_begin_ = 0;
  std::uint32_t fields_ = 0;
  bool in_request_line_ = true;
  bool skipped_empty_line_ = false;
  bool after_cr_ = false;
  Refusal refusal_{};
};

// The request line without its line end: method SP target SP HTTP-version, each checked. nullopt if
// it is good.
std::optional<Refusal> check_request_line(std::string_view line);

// One header line without its line end: name, colon, value.
std::optional<Refusal> check_field_line(std::string_view line);

// How the body is delimited and what else the engine must know of a head.
struct Framing {
  std::uint64_t content_length = 0;
  bool has_content_length = false;
  bool chunked = false;
  bool keep_alive = true;
  bool expect_continue = false;
};

// The rules that concern several fields: Host, Content-Length, Transfer-Encoding, Expect,
// Connection. Fills `framing`, or says why not.
std::optional<Refusal> check_fields(const HeaderList& fields, HttpVersion version,
                                    Framing& framing);

}  // namespace vigil::http
