// Small text helpers: escaping, numbers, durations, endpoints. All pure; none allocates more than
// it returns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace vigil {

// Appends `text` as the inside of a JSON string: quotes, backslashes and control characters
// escaped; a byte sequence that is not UTF-8 becomes U+FFFD.
void append_json_escaped(std::string& out, std::string_view text);

// `text` with every byte sequence that is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// `text` with & < > " ' as HTML entities.
std::string html_escaped(std::string_view text);

// "0x" and lower-case hex digits without padding.
std::string hex_address(std::uint64_t value);

// The whole of `text` as a number in [min, max]. Decimal digits only: no sign, space, base prefix
// or rest. invalid_argument otherwise, with a sentence such as "not a whole number from 1 to 300".
Result<std::int64_t> parse_integer(std::string_view text, std::int64_t min, std::int64_t max);

// A duration as people write it: a decimal number and one of ns, us, ms, s, m, h ("250ms", "1.5s",
// "2m"); "0" alone. Not negative. invalid_argument otherwise.
Result<Duration> parse_duration(std::string_view text);

// A form that parse_duration reads: below a minute one unit with at most two decimals ("250ms",
// "1.5s"), from there on whole units ("3m12s", "2h5m").
std::string format_duration(Duration duration);

// RFC 3339 in UTC, whole seconds (rounded down): "2026-11-22T04:12:09Z".
std::string format_utc(WallTime time);

// Appends the same without the Z: a fraction of the second may follow.
void append_utc_seconds(std::string& out, WallTime time);

// An IP address and a port.
struct HostPort {
  std::string host;  // numeric: "127.0.0.1", "::1"
  std::uint16_t port = 0;
};

// "127.0.0.1:8080", "[::1]:0", or "localhost:80" (taken as 127.0.0.1). No name is resolved.
// invalid_argument with a sentence otherwise.
Result<HostPort> parse_host_port(std::string_view text);

// The inverse: brackets around an IPv6 address.
std::string format_host_port(const HostPort& endpoint);

}  // namespace vigil
