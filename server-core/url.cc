#include "server-core/url.h"

#include <algorithm>
#include <array>

namespace vigil::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr bool is_alnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

constexpr std::array<bool, 256> unreserved_bytes() {
  std::array<bool, 256> table{};
  for (int c = 0; c < 128; ++c) table[c] = is_alnum(static_cast<char>(c));
  for (const char c : {'-', '.', '_', '~'}) table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kUnreserved = unreserved_bytes();

bool is_unreserved(char c) { return kUnreserved[static_cast<unsigned char>(c)]; }

bool is_target_byte(char c) { return c > 0x20 && c < 0x7F; }

// The text between the brackets of an IPv6 literal: hex digits, colons and dots; good enough to
// keep delimiters out.
bool is_ipv6_text(std::string_view text) {
  return text.size() >= 2 && std::all_of(text.begin(), text.end(), [](char c) {
           return hex_digit(c) >= 0 || c == ':' || c == '.';
         });
}

// *DIGIT (RFC 3986 §3.2.3), and a port that exists.
bool is_port_text(std::string_view text) {
  if (text.size() > 5) return false;
  int port = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
  }
  return port <= 65535;
}

// A query's part: "+" is a space, then percent-decoding.
bool append_form_decoded(std::string& out, std::string_view text) {
  const std::size_t before = out.size();
  while (true) {
    const std::size_t plus = text.find('+');
    if (!append_percent_decoded(out, text.substr(0, plus))) {
      out.resize(before);
      return false;
    }
    if (plus == std::string_view::npos) return true;
    out += ' ';
    text.remove_prefix(plus + 1);
  }
}

}  // namespace

bool append_percent_decoded(std::string& out, std::string_view text) {
  const std::size_t before = out.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0)) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return true;
}

std::string percent_encoded_path(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (is_unreserved(c) || c == '/') {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string cleaned_path(std::string_view path) {
  std::string out = "/";
  std::size_t begin = 1;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment == "..") {
      if (out.size() > 1) out.resize(out.rfind('/', out.size() - 2) + 1);
    } else if (!segment.empty() && segment != ".") {
      out.append(segment);
      if (end < path.size()) out += '/';
    }
    begin = end + 1;
  }
  return out;
}

bool is_clean_path(std::string_view path) {
  std::size_t begin = 1;
  while (begin < path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment.empty() || segment == "." || segment == "..") return false;
    begin = end + 1;
  }
  return true;
}

QueryParams QueryParams::parse(std::string_view text, std::size_t pairs_max) {
  QueryParams params;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    std::string name, value;
    const bool decoded =
        append_form_decoded(name, pair.substr(0, equals)) &&
        (equals == std::string_view::npos || append_form_decoded(value, pair.substr(equals + 1)));
    if (!decoded || params.pairs_.size() == pairs_max) {
      ++params.malformed_;
    } else {
      params.pairs_.emplace_back(std::move(name), std::move(value));
    }
  }
  return params;
}

std::optional<std::string_view> QueryParams::get(std::string_view name) const {
  for (const auto& [key, value] : pairs_) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::optional<Target> split_target(std::string_view target) {
  if (target.empty() || !std::all_of(target.begin(), target.end(), is_target_byte) ||
      target.find('#') != std::string_view::npos) {
    return std::nullopt;
  }
  Target split;
  if (target == "*") {
    split.raw_path = target;
    return split;
  }
  if (target.front() != '/') {
    const std::size_t colon = target.find("://");
    if (colon == std::string_view::npos) return std::nullopt;
    std::string scheme(target.substr(0, colon));
    for (char& c : scheme) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (scheme != "http" && scheme != "https") return std::nullopt;
    target.remove_prefix(colon + 3);
    const std::size_t end = std::min(target.find_first_of("/?"), target.size());
    split.authority = target.substr(0, end);
    if (split.authority.empty() || !is_valid_host(split.authority)) return std::nullopt;
    target.remove_prefix(end);
  }
  const std::size_t question = target.find('?');
  split.raw_path = target.substr(0, question);
  if (split.raw_path.empty()) split.raw_path = "/";  // absolute form without a path
  if (question != std::string_view::npos) split.raw_query = target.substr(question + 1);
  return split;
}

bool is_valid_host(std::string_view host) {
  std::string_view port;
  if (!host.empty() && host.front() == '[') {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos || !is_ipv6_text(host.substr(1, end - 1))) return false;
    port = host.substr(end + 1);
  } else {
    const std::size_t colon = std::min(host.find(':'), host.size());
    const std::string_view name = host.substr(0, colon);
    // RFC 3986 reg-name without percent-encoding, and without the sub-delims that no host name has.
    for (const char c : name) {
      if (!kUnreserved[static_cast<unsigned char>(c)]) return false;
    }
    if (name.empty() && !host.empty()) return false;
    port = host.substr(colon);
  }
  return port.empty() || (port.front() == ':' && is_port_text(port.substr(1)));
}

}  // namespace vigil::http
