#include "server-core/head_rules.h"

#include <algorithm>
#include <limits>

#include "server-core/byte_search.h"
#include "server-core/url.h"

namespace vigil::http {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// 1*DIGIT up to 2^63-1 (P1.11).
std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::uint64_t value = 0;
  for (char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (kMax - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

std::optional<Refusal> check_version(std::string_view version) {
  if (version == "HTTP/1.1" || version == "HTTP/1.0") return std::nullopt;
  const bool well_formed = version.size() == 8 && version.starts_with("HTTP/") &&
                           is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
  if (well_formed) return Refusal{505, "this server speaks HTTP/1.0 and HTTP/1.1"};
  return Refusal{400, "malformed HTTP version"};
}

// What single fields have said so far, while check_fields() goes over them.
struct FieldFacts {
  int hosts = 0;
  bool host_empty = false;
  int transfer_encodings = 0;
  int expectations = 0;
  bool close = false;
  bool keep_alive = false;
};

std::optional<Refusal> read_field(const HeaderField& field, FieldFacts& facts, Framing& framing) {
  const std::string_view name = field.name;
  // By length first: most fields are none of these.
  if (name.size() == 4 && equals_ignoring_case(name, "host")) {
    if (++facts.hosts > 1) return Refusal{400, "repeated Host"};
    if (!is_valid_host(field.value)) return Refusal{400, "invalid Host"};
    facts.host_empty = field.value.empty();
  } else if (name.size() == 14 && equals_ignoring_case(name, "content-length")) {
    if (framing.has_content_length) return Refusal{400, "repeated Content-Length"};
    const std::optional<std::uint64_t> length = parse_content_length(field.value);
    if (!length) return Refusal{400, "invalid Content-Length"};
    framing.has_content_length = true;
    framing.content_length = *length;
  } else if (name.size() == 17 && equals_ignoring_case(name, "transfer-encoding")) {
    if (++facts.transfer_encodings > 1) return Refusal{400, "repeated Transfer-Encoding"};
    if (!equals_ignoring_case(field.value, "chunked")) {
      return Refusal{501, "the only transfer coding is chunked"};
    }
    framing.chunked = true;
  } else if (name.size() == 10 && equals_ignoring_case(name, "connection")) {
    facts.close |= list_has_token(field.value, "close");
    facts.keep_alive |= list_has_token(field.value, "keep-alive");
  } else if (name.size() == 6 && equals_ignoring_case(name, "expect")) {
    if (++facts.expectations > 1 || !equals_ignoring_case(field.value, "100-continue")) {
      return Refusal{417, "the only expectation is 100-continue"};
    }
    framing.expect_continue = true;
  }
  return std::nullopt;
}

}  // namespace

HeadScanner::Status HeadScanner::refuse(int status, std::string_view reason) {
  refusal_ = {status, reason};
  return Status::kRefused;
}

HeadScanner::Status HeadScanner::over_limit() {
  if (in_request_line_) return refuse(414, "the request target is too long");
  return refuse(431, "the request's header section is too long");
}

HeadScanner::Status HeadScanner::scan(std::string_view input, const HeadLimits& limits) {
  const std::string_view allowed = input.substr(0, limits.bytes_max);
  while (offset_ < allowed.size()) {
    if (!after_cr_) offset_ = find_control(allowed, offset_);
    if (offset_ == allowed.size()) break;
    const char byte = input[offset_++];
    if (after_cr_) {
      if (byte != '\n') return refuse(400, "CR without LF");  // P1.5
      after_cr_ = false;
      const Status status = end_line(input.substr(line_begin_, offset_ - 2 - line_begin_), limits);
      if (status != Status::kIncomplete) return status;
      line_begin_ = offset_;
    } else if (byte == '\r') {
      after_cr_ = true;
    } else if (byte != '\t') {  // which the line's own check decides about
      return refuse(400, byte == '\n' ? "LF without CR" : "control byte in the head");
    }
  }
  return input.size() >= limits.bytes_max ? over_limit() : Status::kIncomplete;
}

HeadScanner::Status HeadScanner::end_line(std::string_view line, const HeadLimits& limits) {
  if (in_request_line_) {
    if (line.empty()) {
      if (skipped_empty_line_) return refuse(400, "empty lines in front of the request");
      skipped_empty_line_ = true;
      begin_ = offset_;
      return Status::kIncomplete;
    }
    in_request_line_ = false;
    if (auto refusal = check_request_line(line)) return refuse(refusal->status, refusal->reason);
    return Status::kIncomplete;
  }
  if (line.empty()) return Status::kComplete;
  if (++fields_ > limits.fields_max) return refuse(431, "too many header fields");
  if (auto refusal = check_field_line(line)) return refuse(refusal->status, refusal->reason);
  return Status::kIncomplete;
}

std::optional<Refusal> check_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return Refusal{400, "the request line needs a method, a target and a version"};
  }
  if (!is_header_name(line.substr(0, first))) return Refusal{400, "invalid method"};
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const bool clean = !target.empty() && std::all_of(target.begin(), target.end(),
                                                    [](char c) { return c > 0x20 && c < 0x7F; });
  if (!clean) return Refusal{400, "invalid byte in the request target"};
  return check_version(line.substr(last + 1));
}

std::optional<Refusal> check_field_line(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') {
    return Refusal{400, "header line begins with white space"};  // P1.3
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return Refusal{400, "header line without a colon"};
  // A token has no white space, so this refuses "Foo : bar" too (P1.2).
  if (!is_header_name(line.substr(0, colon))) return Refusal{400, "invalid header name"};
  return std::nullopt;
}

std::optional<Refusal> check_fields(const HeaderList& fields, HttpVersion version,
                                    Framing& framing) {
  framing = Framing{};
  FieldFacts facts;
  std::optional<Refusal> unsupported;  // told only if nothing in the head is malformed
  for (const HeaderField& field : fields) {
    std::optional<Refusal> refusal = read_field(field, facts, framing);
    if (refusal && refusal->status == 400) return refusal;
    if (refusal && !unsupported) unsupported = refusal;
  }
  const bool http10 = version == HttpVersion::kHttp10;
  if (facts.transfer_encodings > 0 && framing.has_content_length) {
    return Refusal{400, "Content-Length and Transfer-Encoding"};  // P1.9
  }
  if (facts.transfer_encodings > 0 && http10) {
    return Refusal{400, "Transfer-Encoding in HTTP/1.0"};
  }
  if (facts.hosts == 0 && !http10) return Refusal{400, "missing Host"};
  // "http:///path" is no URI that a recipient may take (RFC 9110 §4.2.1).
  if (facts.host_empty && !http10) return Refusal{400, "empty Host"};
  if (unsupported && !(unsupported->status == 417 && http10)) return unsupported;
  if (http10) framing.expect_continue = false;  // RFC 9110 §10.1.1
  framing.keep_alive = !facts.close && (!http10 || facts.keep_alive);
  return std::nullopt;
}

}  // namespace vigil::http
