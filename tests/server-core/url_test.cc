#include "server-core/url.h"

#include "tests/support/catch.h"

using namespace std::string_view_literals;
using namespace vigil::http;

namespace {
std::string decoded(std::string_view text) {
  std::string out = "<";
  return append_percent_decoded(out, text) ? out.substr(1) : "refused, left " + out;
}
}  // namespace

TEST_CASE("P1.22: percent-decoding is done once, broken escapes and NUL are refused") {
  CHECK(decoded("a%20b%2Fc") == "a b/c");
  CHECK(decoded("%2541") == "%41");
  CHECK(decoded("%e4%C3") == "\xe4\xc3");
  CHECK(decoded("%41") == "A");
  for (std::string_view bad : {"%", "%4", "a%", "a%4", "%zz", "%0", "%00", "x%00y", "%+1", "% 1"}) {
    CHECK(decoded(bad) == "refused, left <");
  }
}

TEST_CASE("P1.22: dot segments never leave the root") {
  CHECK(cleaned_path("/") == "/");
  CHECK(cleaned_path("/a/b") == "/a/b");
  CHECK(cleaned_path("/a//b/") == "/a/b/");
  CHECK(cleaned_path("/../../etc/passwd") == "/etc/passwd");
  CHECK(cleaned_path("/a/./b/../c") == "/a/c");
  CHECK(cleaned_path("//") == "/");
  CHECK(cleaned_path("/a/..") == "/");
  for (std::string_view clean : {"/", "/a", "/a/", "/a/b", "/.a/..b/c..", "/..."}) {
    CHECK(is_clean_path(clean));
    CHECK(cleaned_path(clean) == clean);
  }
  for (std::string_view dirty : {"//", "/a//b", "/.", "/a/..", "/../a", "/a/./b"}) {
    CHECK_FALSE(is_clean_path(dirty));
    CHECK(is_clean_path(cleaned_path(dirty)));
  }
}

TEST_CASE("a query's pairs, their order, and what is left out") {
  const QueryParams query = QueryParams::parse("a=1&b=x%20y+z&a=2&flag&=v&bad=%zz&&c=%3D%26");
  CHECK(query.get("a") == "1"sv);
  CHECK(query.get("b") == "x y z"sv);
  CHECK(query.get("flag") == ""sv);
  CHECK(query.get("") == "v"sv);
  CHECK(query.get("c") == "=&"sv);
  CHECK_FALSE(query.contains("bad"));
  CHECK_FALSE(query.contains("A"));
  CHECK(query.malformed() == 1);
  CHECK(query.size() == 6);
  CHECK(QueryParams::parse("a=1&b=2&c=3", 2).malformed() == 1);
  CHECK(QueryParams::parse("").size() == 0);
}

TEST_CASE("P1.7: target forms") {
  auto target = split_target("/a/b?x=1?y");
  REQUIRE(target);
  CHECK(target->raw_path == "/a/b");
  CHECK(target->raw_query == "x=1?y");
  target = split_target("http://Example.com:80/p?q");
  REQUIRE(target);
  CHECK(target->authority == "Example.com:80");
  CHECK(target->raw_path == "/p");
  target = split_target("HTTP://h?q");
  REQUIRE(target);
  CHECK(target->raw_path == "/");
  CHECK(target->raw_query == "q");
  for (std::string_view bad : {"", "a", "example.com:443", "/a#b", "/a b", "/\x80", "ftp://h/",
                               "http:///p", "http://u@h/", "http://", "**"}) {
    CHECK_FALSE(split_target(bad));
  }
  CHECK(split_target("*")->raw_path == "*");
}

TEST_CASE("P1.6: hosts") {
  for (std::string_view good :
       {"", "a", "a.b-c_d:80", "127.0.0.1:8080", "[::1]", "[::1]:6060", "a:", "a:65535"}) {
    CHECK(is_valid_host(good));
  }
  for (std::string_view bad : {"a b", "a/b", "a@b", "{", "\xff", "a:b", "a:65536", "a:123456",
                               "[::1", "::1", "a,b", "[]", "[::1]x", ":80", "a%41"}) {
    CHECK_FALSE(is_valid_host(bad));
  }
}
