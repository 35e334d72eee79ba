#include "server-core/response_writer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <string>

namespace vigil::http {
namespace {

// Fields that a receiver must know before the body, or that it must not take from behind it (RFC
// 9110 §6.5.1).
bool is_forbidden_trailer(std::string_view name) {
  static constexpr std::string_view kForbidden[] = {"authorization",
                                                    "cache-control",
                                                    "content-encoding",
                                                    "content-length",
                                                    "content-range",
                                                    "content-type",
                                                    "connection",
                                                    "date",
                                                    "expect",
                                                    "host",
                                                    "keep-alive",
                                                    "location",
                                                    "max-forwards",
                                                    "proxy-authenticate",
                                                    "proxy-authorization",
                                                    "proxy-connection",
                                                    "range",
                                                    "retry-after",
                                                    "set-cookie",
                                                    "te",
                                                    "trailer",
                                                    "transfer-encoding",
                                                    "upgrade",
                                                    "vary",
                                                    "www-authenticate"};
  return std::any_of(std::begin(kForbidden), std::end(kForbidden), [&](std::string_view forbidden) {
    return equals_ignoring_case(name, forbidden);
  });
}

}  // namespace

std::string_view status_reason(int code) {
  switch (code) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 102:
      return "Processing";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 203:
      return "Non-Authoritative Information";
    case 204:
      return "No Content";
    case 205:
      return "Reset Content";
    case 206:
      return "Partial Content";
    case 300:
      return "Multiple Choices";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 425:
      return "Too Early";
    case 426:
      return "Upgrade Required";
    case 428:
      return "Precondition Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 451:
      return "Unavailable For Legal Reasons";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Unknown";
  }
}

Result<void> ResponseWriter::set_trailer(std::string_view, std::string_view) {
  return Error(ErrorCode::kUnsupported, "this response has no trailers");
}

Result<void> ResponseWriter::inform(int, const HeaderMap&) {
  return Error(ErrorCode::kUnsupported, "this response sends no informational ones");
}

Result<HijackedConnection> ResponseWriter::hijack() {
  return Error(ErrorCode::kUnsupported, "this connection cannot be hijacked");
}

Result<void> check_trailer(std::string_view name, std::string_view value) {
  if (is_forbidden_trailer(name)) {
    return Error(ErrorCode::kInvalidArgument, std::string(name) + " cannot be a trailer");
  }
  if (is_header_name(name) && is_header_value(value)) return {};
  return Error(ErrorCode::kInvalidArgument, "a trailer with CR, LF, NUL or a bad name");
}

void write_error(ResponseWriter& response, int code, std::string_view message) {
  constexpr std::array<std::string_view, 6> kOfAnotherBody = {
      "Content-Length", "Content-Encoding", "Content-Disposition",
      "ETag",           "Last-Modified",    "Cache-Control"};
  for (std::string_view name : kOfAnotherBody) response.headers().remove(name);
  response.headers().set("Content-Type", "text/plain; charset=utf-8");
  response.headers().set("X-Content-Type-Options", "nosniff");
  response.status(code);
  (void)response.write(message.empty() ? status_reason(code) : message);
  (void)response.write("\n");
}

int body_error_status(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kDeadlineExceeded:
      return 408;
    case ErrorCode::kResourceExhausted:
      return 413;
    case ErrorCode::kUnsupported:
      return 415;
    default:
      return 400;
  }
}

void redirect(ResponseWriter& response, std::string_view location, int code) {
  assert(code >= 300 && code < 400);
  response.headers().set("Location", location);
  write_error(response, code);
}

}  // namespace vigil::http
