#include "server-core/websocket_handshake.h"

#include <algorithm>
#include <array>
#include <cassert>

#include <openssl/evp.h>

namespace vigil::http {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::string_view kVersion = "13";
constexpr std::size_t kKeyChars = 24;  // base64 of 16 bytes

// Whether any field of that name has `token` in its list.
bool has_token(const HeaderList& headers, std::string_view name, std::string_view token) {
  return std::any_of(headers.begin(), headers.end(), [&](const HeaderField& field) {
    return equals_ignoring_case(field.name, name) && list_has_token(field.value, token);
  });
}

bool is_base64_char(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

bool is_key(std::string_view key) {
  return key.size() == kKeyChars && key.ends_with("==") &&
         std::all_of(key.begin(), key.end() - 2, is_base64_char);
}

bool announces_body(const HeaderList& headers) {
  return headers.contains("Transfer-Encoding") ||
         headers.get("Content-Length").value_or("0") != "0";
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Subprotocols are compared as they are written (RFC 6455 §4.1).
bool offers(const HeaderList& headers, std::string_view subprotocol) {
  for (const HeaderField& field : headers) {
    if (!equals_ignoring_case(field.name, "Sec-WebSocket-Protocol")) continue;
    std::string_view list = field.value;
    while (!list.empty()) {
      const std::size_t comma = std::min(list.find(','), list.size());
      if (trimmed(list.substr(0, comma)) == subprotocol) return true;
      list.remove_prefix(std::min(comma + 1, list.size()));
    }
  }
  return false;
}

WebSocketHandshake refuse(int status, std::string why) { return {status, std::move(why), {}, {}}; }

}  // namespace

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key).append(kGuid);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  [[maybe_unused]] const int done =
      EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  assert(done == 1);
  std::array<unsigned char, 4 * EVP_MAX_MD_SIZE / 3 + 5> base64;
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(size));
  return {reinterpret_cast<const char*>(base64.data()), static_cast<std::size_t>(length)};
}

bool is_same_origin(const Request& request) {
  const auto origin = request.header("Origin");
  if (!origin) return true;
  if (request.headers().count("Origin") > 1) return false;
  const std::size_t scheme = origin->find("://");
  if (scheme == std::string_view::npos) return false;  // "null": no host to compare
  return equals_ignoring_case(origin->substr(scheme + 3), request.host());
}

WebSocketHandshake judge_websocket_request(
    const Request& request, std::span<const std::string> subprotocols,
    const std::function<bool(const Request&)>& allow_origin) {
  const HeaderList& headers = request.headers();
  if (request.version() == HttpVersion::kHttp10) return refuse(505, "WebSocket needs HTTP/1.1");
  if (request.version() != HttpVersion::kHttp11) {
    return refuse(501, "WebSocket is served over HTTP/1.1 only");
  }
  if (request.method() != "GET") return refuse(405, "a WebSocket is opened with GET");
  if (!has_token(headers, "Connection", "upgrade") || !has_token(headers, "Upgrade", "websocket")) {
    return refuse(426,
                  "this is a WebSocket: Connection: Upgrade and Upgrade: websocket are missing");
  }
  if (headers.count("Sec-WebSocket-Version") != 1 ||
      headers.get("Sec-WebSocket-Version") != kVersion) {
    return refuse(426, "Sec-WebSocket-Version must be 13");
  }
  if (headers.count("Sec-WebSocket-Key") != 1 || !is_key(*headers.get("Sec-WebSocket-Key"))) {
    return refuse(400, "Sec-WebSocket-Key must be the base64 of 16 bytes");
  }
  if (announces_body(headers)) return refuse(400, "a WebSocket is opened without a body");
  if (!(allow_origin ? allow_origin(request) : is_same_origin(request))) {
    return refuse(403, "not from this Origin");
  }
  WebSocketHandshake handshake;
  handshake.accept = websocket_accept(*headers.get("Sec-WebSocket-Key"));
  const auto chosen = std::find_if(subprotocols.begin(), subprotocols.end(),
                                   [&](const auto& name) { return offers(headers, name); });
  if (chosen != subprotocols.end()) handshake.subprotocol = *chosen;
  return handshake;
}

}  // namespace vigil::http
