#include "base/text.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <iterator>
#include <limits>
#include <optional>

#include <fmt/core.h>

namespace vigil {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_ascii(std::string_view text) {
  unsigned char any = 0;  // without a branch in the loop the compiler takes 16 bytes at a time
  for (const char c : text) any |= static_cast<unsigned char>(c);
  return any < 0x80;
}

// The length in bytes of the well-formed UTF-8 sequence at the front of `text`, 0 if there is none.
// Source: The Unicode Standard, table 3-7 (well-formed byte sequences).
std::size_t utf8_sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (first == 0xED && byte(1) > 0x9F) return 0;  // a surrogate
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;  // overlong
    if (first == 0xF4 && byte(1) > 0x8F) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

void append_json_ascii(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out += c;
      }
  }
}

struct DurationUnit {
  std::string_view name;
  Duration value;
};

// Longest first, as format_duration tries them in this order.
constexpr DurationUnit kDurationUnits[] = {
    {"h", std::chrono::hours(1)},         {"m", std::chrono::minutes(1)},
    {"s", std::chrono::seconds(1)},       {"ms", std::chrono::milliseconds(1)},
    {"us", std::chrono::microseconds(1)}, {"ns", Duration(1)},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_address(int family, std::string_view text) {
  std::array<char, sizeof(in6_addr)> address;
  return inet_pton(family, std::string(text).c_str(), address.data()) == 1 &&
         text.find('\0') == std::string_view::npos;
}

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    if (length == 1) {
      append_json_ascii(out, text[0]);
    } else if (length == 0) {
      out += kReplacement;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

std::string valid_utf8(std::string_view text) {
  // Nearly all text is: a dump of a thousand threads asks for 100,000 names and files.
  if (is_ascii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    out += length == 0 ? kReplacement : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string html_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string hex_address(std::uint64_t value) { return fmt::format("{:#x}", value); }

Result<std::int64_t> parse_integer(std::string_view text, std::int64_t min, std::int64_t max) {
  const auto refuse = [&] {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("not a whole number from {} to {}", min, max));
  };
  if (text.empty() || !is_digit(text[0])) return refuse();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return refuse();
  if (value < min || value > max) return refuse();
  return value;
}

namespace {

// Takes one number with its unit off the front of `text`. The unit must be smaller than
// `unit_limit`, and the result becomes the new limit, so units only descend.
std::optional<Duration> take_duration_part(std::string_view& text, Duration& unit_limit) {
  std::size_t digits = 0;
  while (digits < text.size() && (is_digit(text[digits]) || text[digits] == '.')) ++digits;
  if (digits == 0 || !is_digit(text[0]) || !is_digit(text[digits - 1])) return std::nullopt;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  text.remove_prefix(digits);
  std::size_t letters = 0;
  while (letters < text.size() && !is_digit(text[letters]) && text[letters] != '.') ++letters;
  for (const DurationUnit& unit : kDurationUnits) {
    if (text.substr(0, letters) != unit.name || unit.value >= unit_limit) continue;
    text.remove_prefix(letters);
    unit_limit = unit.value;
    const double value_ns = number * static_cast<double>(unit.value.count());
    if (value_ns > 4e18) return std::nullopt;  // 126 years; the sum of two still fits 64 bits
    return Duration(std::llround(value_ns));
  }
  return std::nullopt;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const auto refuse = [] {
    return Error(ErrorCode::kInvalidArgument, "not a duration such as 250ms, 2s or 1h30m");
  };
  if (text == "0") return Duration::zero();
  if (text.empty()) return refuse();
  Duration sum{};
  Duration unit_limit = Duration::max();
  while (!text.empty()) {
    const auto part = take_duration_part(text, unit_limit);
    if (!part) return refuse();
    sum += *part;
  }
  return sum;
}

std::string format_duration(Duration duration) {
  using namespace std::chrono_literals;
  if (duration >= 1h) {
    const auto minutes = duration / 1min;
    return minutes % 60 == 0 ? fmt::format("{}h", minutes / 60)
                             : fmt::format("{}h{}m", minutes / 60, minutes % 60);
  }
  if (duration >= 1min) {
    const auto seconds = duration / 1s;
    return seconds % 60 == 0 ? fmt::format("{}m", seconds / 60)
                             : fmt::format("{}m{}s", seconds / 60, seconds % 60);
  }
  for (const DurationUnit& unit : kDurationUnits) {
    if (duration < unit.value) continue;
    const double number =
        static_cast<double>(duration.count()) / static_cast<double>(unit.value.count());
    std::string text = fmt::format("{:.2f}", number);
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text.append(unit.name);
  }
  return "0s";
}

void append_utc_seconds(std::string& out, WallTime time) {
  const std::time_t seconds =
      std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", utc.tm_year + 1900,
                 utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string format_utc(WallTime time) {
  std::string text;
  append_utc_seconds(text, time);
  return text + 'Z';
}

Result<HostPort> parse_host_port(std::string_view text) {
  const auto refuse = [] {
    return Error(ErrorCode::kInvalidArgument,
                 "not an address and port such as 127.0.0.1:8080 or [::1]:8080");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return refuse();
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (!is_address(AF_INET6, host)) return refuse();
  } else {
    if (host == "localhost") host = "127.0.0.1";
    if (!is_address(AF_INET, host)) return refuse();
  }
  const Result<std::int64_t> port =
      parse_integer(text.substr(colon + 1), 0, std::numeric_limits<std::uint16_t>::max());
  if (!port) return refuse();
  return HostPort{std::string(host), static_cast<std::uint16_t>(*port)};
}

std::string format_host_port(const HostPort& endpoint) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", endpoint.host, endpoint.port)
            : fmt::format("{}:{}", endpoint.host, endpoint.port);
}

}  // namespace vigil
