#include "server-core/request_parser.h"

#include <llhttp.h>

namespace vigil::http {

// llhttp is given a whole head in one call, so every span arrives in one piece, except that an
// empty one may not arrive at all: therefore a field is begun by its name's end, and its value
// filled in if there is one.
struct LlhttpCallbacks {
  static RequestParser& self(llhttp_t* parser) {
    return *static_cast<RequestParser*>(parser->data);
  }
  static int on_url(llhttp_t* parser, const char* at, std::size_t size) {
    self(parser).head_.target = {at, size};
    return 0;
  }
  static int on_field(llhttp_t* parser, const char* at, std::size_t size) {
    self(parser).fields_.push_back({{at, size}, {}});
    return 0;
  }
  static int on_value(llhttp_t* parser, const char* at, std::size_t size) {
    if (self(parser).fields_.empty()) return HPE_USER;
    std::string_view value(at, size);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    self(parser).fields_.back().value = value;
    return 0;
  }
  static int on_headers_complete(llhttp_t* parser) {
    self(parser).headers_complete_ = true;
    return 0;
  }
  static const llhttp_settings_t* settings() {
    static const llhttp_settings_t kSettings = [] {
      llhttp_settings_t settings;
      llhttp_settings_init(&settings);
      settings.on_url = on_url;
      settings.on_header_field = on_field;
      settings.on_header_value = on_value;
      settings.on_headers_complete = on_headers_complete;
      return settings;
    }();
    return &kSettings;
  }
};

namespace {

// Methods that llhttp knows from HTTP/2's preface and from RTSP, and refuses with "HTTP/1.1" behind
// them. Here they are unknown methods like any other (P1.8).
bool is_foreign_method(std::uint8_t method) {
  return method == HTTP_PRI || (method >= HTTP_DESCRIBE && method <= HTTP_FLUSH);
}

}  // namespace

RequestParser::Reading RequestParser::run_llhttp(std::string_view bytes) {
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, LlhttpCallbacks::settings());
  // Not lenient: check_fields() asks for exactly "chunked", and llhttp takes the white space that
  // RFC 9110 §5.5 allows behind a value for a part of the coding's name.
  llhttp_set_lenient_transfer_encoding(&parser, 1);
  parser.data = this;
  headers_complete_ = false;
  const llhttp_errno_t error = llhttp_execute(&parser, bytes.data(), bytes.size());
  // An Upgrade field makes llhttp stop behind the head and say so; we have taken the head only
  // anyway.
  if (error == HPE_INVALID_METHOD) return Reading::kUnknownMethod;
  if (error != HPE_OK && error != HPE_PAUSED_UPGRADE) {
    return is_foreign_method(parser.method) ? Reading::kUnknownMethod : Reading::kMalformed;
  }
  const bool whole = headers_complete_ && parser.http_major == 1 && parser.http_minor <= 1;
  return whole ? Reading::kUnderstood : Reading::kMalformed;
}

RequestParser::Status RequestParser::refuse(Refusal refusal) {
  refusal_ = refusal;
  return Status::kRefused;
}

RequestParser::Status RequestParser::parse(std::string_view input, HeadScanner& scanner) {
  const Status status = scanner.scan(input, limits_);
  if (status == Status::kIncomplete) return status;
  if (status == Status::kRefused) return refuse(scanner.refusal());

  head_bytes_ = scanner.end();
  const std::string_view bytes = input.substr(scanner.begin(), head_bytes_ - scanner.begin());
  fields_.clear();
  head_.method = bytes.substr(0, bytes.find(' '));
  head_.version =
      bytes[bytes.find("\r\n") - 1] == '0' ? HttpVersion::kHttp10 : HttpVersion::kHttp11;
  if (head_.method == "CONNECT" || head_.method == "TRACE") {  // P1.8: neither a proxy nor an echo
    return refuse({501, "this method is not served"});
  }
  head_.target = {};
  const Reading reading = run_llhttp(bytes);
  // Its form has been checked: it is a method, but none that llhttp has heard of.
  if (reading == Reading::kUnknownMethod) return refuse({501, "unknown method"});
  head_.headers = HeaderList(fields_);
  if (auto refusal = check_fields(head_.headers, head_.version, framing_)) {
    // Where llhttp stopped early, what is missing may only seem to be missing.
    if (reading == Reading::kUnderstood || refusal->status != 400) return refuse(*refusal);
  }
  if (reading == Reading::kMalformed) return refuse({400, "malformed request head"});
  return Status::kComplete;
}

}  // namespace vigil::http
