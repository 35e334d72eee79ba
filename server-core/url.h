// Request targets: percent-decoding and query strings. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vigil::http {

// Appends `text` to `out` with %XX decoded, once. Nothing is decoded twice: "%2541" gives "%41".
// false, with `out` as it was, for an escape that is not two hex digits, or one that gives NUL
// (P1.22).
bool append_percent_decoded(std::string& out, std::string_view text);

// `text` with every byte except unreserved ones and "/" as %XX: for putting a path into a Location
// or a page.
std::string percent_encoded_path(std::string_view text);

// The path with "." and ".." resolved as RFC 3986 §5.2.4 does and "//" made one slash; never above
// the root. `path` begins with "/".
std::string cleaned_path(std::string_view path);

// Whether cleaned_path(path) == path. Does not allocate.
bool is_clean_path(std::string_view path);

// A query string or form body, parsed: "a=1&b=x%20y&a=2". "+" is a space. A pair with a broken
// escape is left out and counted in malformed().
class QueryParams {
 public:
  QueryParams() = default;
  // More pairs than `pairs_max` are left out and counted in malformed().
  static QueryParams parse(std::string_view text, std::size_t pairs_max = 1024);

  // The first value of that name; names compare exactly.
  std::optional<std::string_view> get(std::string_view name) const;
  bool contains(std::string_view name) const { return get(name).has_value(); }

  std::size_t malformed() const { return malformed_; }
  std::size_t size() const { return pairs_.size(); }
  auto begin() const { return pairs_.begin(); }  // pairs of std::string, in order
  auto end() const { return pairs_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
  std::size_t malformed_ = 0;
};

// A request target, split. Borrows from the target.
struct Target {
  std::string_view authority;  // of the absolute form only: "example.com:8080"
  std::string_view raw_path;   // begins with "/", or is "*" (OPTIONS)
  std::string_view raw_query;  // without "?"
};

// Splits an origin-form ("/a?b"), absolute-form ("http://h/a?b") or asterisk-form ("*") target.
// nullopt for any other, a "#", or a byte that no target may have.
std::optional<Target> split_target(std::string_view target);

// Whether `host` may stand in a Host field or as the authority of an http URL: a name, an IPv4
// address or a bracketed IPv6 address, then an optional ":port". Empty is allowed here; user
// information is not.
bool is_valid_host(std::string_view host);

}  // namespace vigil::http
