// RequestParser: bytes in, a checked request head out. No I/O, no clock, no memory of its own but
// the list of fields.
//
//   RequestParser parser(limits);              // one a thread
//   HeadScanner scanner;                       // one a head, kept with the connection's bytes
//   switch (parser.parse(bytes, scanner)) {
//     case kIncomplete: …wait for more, keep `bytes` and `scanner`…
//     case kComplete:   …parser.head(), parser.framing(), parser.head_bytes()…
//     case kRefused:    …answer parser.refusal() and close…
//   }
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "server-core/head_rules.h"
#include "server-core/request.h"

namespace vigil::http {

class RequestParser {
 public:
  using Status = HeadScanner::Status;

  explicit RequestParser(HeadLimits limits) : limits_(limits) {}

  // Looks for a whole head at the start of `input`. The result is the same however the bytes were
  // cut into pieces (P1.1).
  Status parse(std::string_view input, HeadScanner& scanner);

  // After kComplete, borrowing from `input`, until the next parse().
  const Request::Head& head() const { return head_; }
  const Framing& framing() const { return framing_; }
  // Where the body begins in `input`.
  std::size_t head_bytes() const { return head_bytes_; }

  // After kRefused.
  Refusal refusal() const { return refusal_; }

 private:
  friend struct LlhttpCallbacks;

  Status refuse(Refusal refusal);
  enum class Reading : std::uint8_t { kUnderstood, kUnknownMethod, kMalformed };
  Reading run_llhttp(std::string_view bytes);

  HeadLimits limits_;
  std::vector<HeaderField> fields_;
  Request::Head head_;
  Framing framing_;
  std::size_t head_bytes_ = 0;
  bool headers_complete_ = false;
  Refusal refusal_;
};

}  // namespace vigil::http
