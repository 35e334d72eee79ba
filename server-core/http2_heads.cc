// Http2Session's heads: a request out of the fields that HPACK gives one by one.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server-core/http2_session.h"

namespace vigil::http {

void Http2Session::add_field(Http2Stream& stream, std::string_view name, std::string_view value) {
  constexpr std::size_t kFieldOverhead = 32;  // RFC 9113 §6.5.2
  constexpr std::size_t kPseudoMax = 5;
  stream.list_bytes += name.size() + value.size() + kFieldOverhead;
  if (stream.list_bytes > kHeaderBombFactor * limits_.header_bytes_max) {
    return end_for_abuse(Http2Abuse::kHeaderBomb);
  }
  // Beyond the limit it is only read on, because HPACK's state needs it.
  if (stream.list_bytes > limits_.header_bytes_max) return;
  if (stream.head_whole) return stream.trailers.add(name, value);
  if (stream.spans.size() > limits_.header_fields_max + kPseudoMax) return;  // enough to refuse it
  const auto at = static_cast<std::uint32_t>(stream.text.size());
  stream.text.append(name).append(value);
  stream.spans.push_back(
      {at, at + static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size())});
}

namespace {

// The pseudo-header fields of a request (RFC 9113 §8.3.1); nghttp2 has seen to it that each is there
// once, in front of the others, and well-formed.
struct Pseudo {
  std::string_view method, path, authority;
};

std::optional<Refusal> check_head(const Request::Head& head, std::string_view authority,
                                  Framing& framing) {
  if (head.method == "CONNECT" || head.method == "TRACE") {
    return Refusal{501, "this method is not served"};
  }
  if (!is_header_name(head.method)) return Refusal{400, "invalid method"};
  const bool clean = std::all_of(head.target.begin(), head.target.end(),
                                 [](char c) { return c > 0x20 && c < 0x7F; });
  if (!clean) return Refusal{400, "invalid byte in the request target"};
  if (!head.target.starts_with('/') && head.target != "*") {
    return Refusal{400, "malformed request target"};
  }
  // RFC 9113 §8.3.1: a recipient must not guess which of two is meant.
  const std::string_view host = head.headers.get("host").value_or("");
  if (!authority.empty() && host != authority) return Refusal{400, ":authority and host differ"};
  return check_fields(head.headers, HttpVersion::kHttp2, framing);
}

}  // namespace

// The views into `text`, which does not grow any more from here on.
void Http2Session::put_fields_together(Http2Stream& stream) {
  Pseudo pseudo;
  std::string cookies;
  bool has_host = false;
  std::size_t cookie_at = 0;
  std::size_t cookie_count = 0;
  const auto view = [&](std::size_t at, std::size_t size) {
    return std::string_view(stream.text).substr(at, size);
  };
  const auto is_cookie = [&](const Http2Stream::Span& span) {
    return view(span.name, span.value - span.name) == "cookie";
  };
  // RFC 9113 §8.2.3: a cookie may come in several fields, and is one to a handler.
  for (const Http2Stream::Span& span : stream.spans) cookie_count += is_cookie(span) ? 1 : 0;
  if (cookie_count > 1) {
    for (const Http2Stream::Span& span : stream.spans) {
      if (!is_cookie(span)) continue;
      cookies.append(cookies.empty() ? "" : "; ").append(view(span.value, span.value_size));
    }
    cookie_at = stream.text.size();
    stream.text.append(cookies);
  }
  bool cookie_seen = false;
  stream.fields.reserve(stream.spans.size() + 1);
  for (const Http2Stream::Span& span : stream.spans) {
    const std::string_view name = view(span.name, span.value - span.name);
    std::string_view value = view(span.value, span.value_size);
    if (name.starts_with(':')) {
      if (name == ":method") pseudo.method = value;
      if (name == ":path") pseudo.path = value;
      if (name == ":authority") pseudo.authority = value;
      continue;
    }
    if (cookie_count > 1 && is_cookie(span)) {
      if (std::exchange(cookie_seen, true)) continue;
      value = view(cookie_at, cookies.size());
    }
    has_host |= name == "host";
    stream.fields.push_back({name, value});
  }
  // As HTTP/1.1 has it, for handlers and for the rules.
  if (!has_host && !pseudo.authority.empty()) {
    stream.fields.insert(stream.fields.begin(), {"host", pseudo.authority});
  }
  stream.head = {pseudo.method, pseudo.path, HttpVersion::kHttp2, HeaderList(stream.fields)};
  stream.authority = pseudo.authority;
}

void Http2Session::end_head(Http2Stream& stream) {
  stream.head_whole = true;
  put_fields_together(stream);
  if (stream.list_bytes > limits_.header_bytes_max) {
    ++counted_[static_cast<std::size_t>(Http2Abuse::kHeaderList)];
    count(Http2Abuse::kHeaderList);
    return events_.on_refused(stream, {431, "the request's header section is too long"});
  }
  if (stream.fields.size() > limits_.header_fields_max) {
    return events_.on_refused(stream, {431, "too many header fields"});
  }
  if (auto refusal = check_head(stream.head, stream.authority, stream.framing)) {
    return events_.on_refused(stream, *refusal);
  }
  stream.head.body_unannounced = !stream.request_ended && !stream.framing.has_content_length;
  events_.on_request(stream);
}

}  // namespace vigil::http
