// Cookies, and the small middleware of paths and bodies, without sockets.

#include "server-core/cookies.h"

#include "server-core/body_limit.h"
#include "server-core/mount.h"
#include "server-core/router.h"
#include "tests/server-core/fake_exchange.h"
#include "tests/support/catch.h"

namespace vigil::http {
namespace {

using namespace std::chrono_literals;
using test::FakeExchange;

std::string cookie_of(std::string_view field, std::string_view name) {
  FakeExchange f({}, "/", {{"Cookie", field}});
  return std::string(cookie(f.request, name).value_or("none"));
}

TEST_CASE("cookie: the first of its name, in any of the fields, without quotes") {
  CHECK(cookie_of("a=1; b=2", "a") == "1");
  CHECK(cookie_of("a=1; b=2", "b") == "2");
  CHECK(cookie_of("a=1;b=2", "b") == "2");
  CHECK(cookie_of("a=1; a=2", "a") == "1");
  CHECK(cookie_of("a=\"x y\"", "a") == "x y");
  CHECK(cookie_of("a=\"", "a") == "\"");
  CHECK(cookie_of("a=b=c", "a") == "b=c");
  CHECK(cookie_of("a=", "a").empty());
  CHECK(cookie_of("aa=1; A=2", "a") == "none");
  CHECK(cookie_of("a; =1; ; ;a=3;", "a") == "3");
  CHECK(cookie_of("", "a") == "none");
  FakeExchange two({}, "/", {{"cookie", "a=1"}, {"Cookie", "b=2"}});
  CHECK(cookie(two.request, "b") == "2");
}

TEST_CASE("set_cookie: the careful defaults, and every attribute") {
  FakeExchange f;
  REQUIRE(set_cookie(f.response, {.name = "s", .value = "1"}).ok());
  CHECK(f.response.header("Set-Cookie") == "s=1; Path=/; Secure; HttpOnly; SameSite=Lax");
  FakeExchange g;
  REQUIRE(set_cookie(g.response, {.name = "s",
                                  .value = "",
                                  .path = "/a",
                                  .domain = "example.com",
                                  .max_age = -1s,
                                  .secure = false,
                                  .http_only = false,
                                  .same_site = SameSite::kStrict})
              .ok());
  CHECK(g.response.header("Set-Cookie") ==
        "s=; Path=/a; Domain=example.com; Max-Age=0; SameSite=Strict");
  REQUIRE(set_cookie(g.response, {.name = "t", .value = "2", .same_site = SameSite::kNone}).ok());
  CHECK(g.response.headers().size() == 2);  // one field each: Set-Cookie cannot be joined
}

TEST_CASE("set_cookie refuses what would become another attribute, or what browsers refuse") {
  const std::vector<Cookie> bad = {
      {.name = "", .value = "1"},
      {.name = "a b", .value = "1"},
      {.name = "a=", .value = "1"},
      {.name = "a", .value = "1; Domain=evil"},
      {.name = "a", .value = "1\r\nX: y"},
      {.name = "a", .value = "x y"},
      {.name = "a", .value = "1,2"},
      {.name = "a", .value = "\xc3\xa4"},
      {.name = "a", .value = "1", .path = "relative"},
      {.name = "a", .value = "1", .path = "/; Secure"},
      {.name = "a", .value = "1", .domain = "x;y"},
      {.name = "a", .value = "1", .secure = false, .same_site = SameSite::kNone},
      {.name = "__Secure-a", .value = "1", .secure = false},
      {.name = "__Host-a", .value = "1", .path = "/a"},
      {.name = "__Host-a", .value = "1", .domain = "example.com"},
  };
  for (const Cookie& cookie : bad) {
    INFO(cookie.name << "=" << cookie.value);
    FakeExchange f;
    const Result<void> set = set_cookie(f.response, cookie);
    REQUIRE_FALSE(set.ok());
    CHECK(set.error().code() == ErrorCode::kInvalidArgument);
    CHECK(f.response.headers().empty());
  }
  FakeExchange f;
  CHECK(set_cookie(f.response, {.name = "__Host-a", .value = "1"}).ok());
}

TEST_CASE("redirect: a location and a code, and no way out of the field") {
  FakeExchange f;
  redirect(f.response, "/elsewhere?x=1", 303);
  CHECK(f.response.status_code() == 303);
  CHECK(f.response.header("Location") == "/elsewhere?x=1");
  CHECK(f.response.body == "See Other\n");
  FakeExchange split;
  redirect(split.response, "/a\r\nSet-Cookie: b=c");
  CHECK_FALSE(split.response.headers().contains("Location"));
}

// What a handler below /api sees; "404" if it does not run.
std::string seen_below_api(const std::string& target) {
  FakeExchange f({}, target);
  if (!f.valid) return "invalid";
  std::string seen = "404";
  strip_prefix("/api")([&](ResponseWriter&, Request& request) {
    seen = std::string(request.path()) + " " + std::string(request.raw_path());
  })(f.response, f.request);
  CHECK((f.response.status_code() == 404) == (seen == "404"));
  CHECK(f.request.raw_path() == target.substr(0, target.find('?')));  // as it was
  return seen;
}

TEST_CASE("strip_prefix: whole segments, raw and decoded, 404 for other paths") {
  CHECK(seen_below_api("/api/orders?x=1") == "/orders /orders");
  CHECK(seen_below_api("/api/") == "/ /");
  CHECK(seen_below_api("/api/a%20b") == "/a b /a%20b");
  CHECK(seen_below_api("/api") == "404");
  CHECK(seen_below_api("/apis/orders") == "404");
  CHECK(seen_below_api("/orders/api/") == "404");
  CHECK(seen_below_api("/%61pi/orders") == "404");
  CHECK(seen_below_api("/api%2Forders") == "404");
}

TEST_CASE("strip_prefix: a router inside matches what is left") {
  FakeExchange f({}, "/api/orders/a%2Fb");
  SystemClock clock;
  leakwatch::TaskRegistry registry(clock);
  Router inner(registry);
  std::string id;
  REQUIRE(inner
              .handle("GET /orders/{id}",
                      [&](ResponseWriter&, Request& request) {
                        id = request.path_value("id").value_or("none");
                      })
              .ok());
  Router outer(registry);
  REQUIRE(outer.handle("/api/", strip_prefix("/api")(inner)).ok());
  outer(f.response, f.request);
  CHECK(id == "a/b");
}

TEST_CASE("body_limit: one byte under, at, and over it") {
  for (const std::size_t size : {9, 10, 11}) {
    INFO(size);
    FakeExchange f;
    f.transport.body = std::string(size, 'x');
    bool read = false;
    body_limit(10)([&](ResponseWriter&, Request& request) { read = request.read_all(1000).ok(); })(
        f.response, f.request);
    CHECK(read == (size <= 10));
  }
}

}  // namespace
}  // namespace vigil::http
