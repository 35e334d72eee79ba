#include "endpoints/guard.h"

#include <chrono>
#include <string>

#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

constexpr std::string_view kToken = "0123456789abcdef";

// 0: it passes.
int status_of(const GuardedRequest& request, std::string_view token = "") {
  const auto refused = refusal(request, token);
  return refused ? refused->status : 0;
}

GuardedRequest with_token(std::optional<std::string_view> authorization,
                          Peer peer = Peer::kThisMachine) {
  return {.host = "localhost",
          .origin = {},
          .sec_fetch_site = {},
          .authorization = authorization,
          .peer = peer};
}

TEST_CASE("P7.2 only the local names pass, with or without a port, letters in any case") {
  for (const char* host :
       {"localhost", "LocalHost:6060", "127.0.0.1", "127.0.0.1:6060", "[::1]", "[::1]:6060"}) {
    INFO(host);
    CHECK(is_local_host(host));
  }
  for (const char* host :
       {"", "evil.example", "localhost.evil.example", "evil.example:6060", "127.0.0.1.evil.example",
        "127.0.0.1:6060:1", "127.0.0.1:x", "127.0.0.1:", "localhost,evil.example", "127.0.0.2",
        "0.0.0.0", "::1", "[::1", "[::1]x", "[::2]:6060", "localhost:99999", " localhost"}) {
    INFO(host);
    CHECK_FALSE(is_local_host(host));
    CHECK(status_of({.host = host, .origin = {}, .sec_fetch_site = {}}) == 403);
  }
}

TEST_CASE("P7.3 a request that another page caused is refused, whatever else it has") {
  const auto status = [](std::optional<std::string_view> origin,
                         std::optional<std::string_view> site) {
    return status_of({.host = "localhost", .origin = origin, .sec_fetch_site = site});
  };
  CHECK(status({}, {}) == 0);
  CHECK(status({}, "none") == 0);
  CHECK(status({}, "same-origin") == 0);
  CHECK(status({}, "cross-site") == 403);
  CHECK(status({}, "same-site") == 403);
  CHECK(status({}, "") == 403);
  CHECK(status("http://evil.example", {}) == 403);
  CHECK(status("null", {}) == 403);

  GuardedRequest trusted = with_token("Bearer 0123456789abcdef");
  CHECK(status_of(trusted, kToken) == 0);
  trusted.origin = "http://evil.example";
  CHECK(status_of(trusted, kToken) == 403);
  trusted.peer = Peer::kUnixSocket;
  CHECK(status_of(trusted, kToken) == 403);
}

TEST_CASE("P7.7 a refusal never repeats what the client sent") {
  const auto reason =
      refusal({.host = "evil.example", .origin = {}, .sec_fetch_site = {}}, std::string_view());
  REQUIRE(reason);
  CHECK(reason->reason.find("evil") == std::string::npos);
  const auto wrong = refusal(with_token("Bearer evil-evil-evil-evil"), kToken);
  REQUIRE(wrong);
  CHECK(wrong->reason.find("evil") == std::string::npos);
  CHECK(wrong->reason.find(kToken) == std::string::npos);
}

TEST_CASE("P7.10 with a token every request must carry it, in its header") {
  CHECK(status_of(with_token("Bearer 0123456789abcdef"), kToken) == 0);
  CHECK(status_of(with_token("bearer 0123456789abcdef"), kToken) == 0);
  CHECK(status_of(with_token({}), kToken) == 401);
  for (const char* wrong :
       {"", "Bearer", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef",
        "Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0",
        "Bearer  0123456789abcdef", "Bearer 0123456789abcdef0123456789abcdef"}) {
    INFO(wrong);
    CHECK(status_of(with_token(wrong), kToken) == 401);
  }
}

TEST_CASE("P7.1 other machines need a token, the Unix socket needs nothing else") {
  CHECK(status_of(with_token({}, Peer::kOtherMachine)) == 403);
  CHECK(status_of(with_token("Bearer ", Peer::kOtherMachine)) == 403);
  CHECK(status_of(with_token("Bearer 0123456789abcdef", Peer::kOtherMachine), kToken) == 0);
  CHECK(status_of(with_token({}, Peer::kOtherMachine), kToken) == 401);
  CHECK(status_of(with_token({}, Peer::kUnixSocket), kToken) == 0);
  CHECK(status_of({.host = "any", .origin = {}, .sec_fetch_site = {}, .peer = Peer::kUnixSocket}) ==
        0);

  CHECK(peer_of("127.0.0.1") == Peer::kThisMachine);
  CHECK(peer_of("127.8.9.10") == Peer::kThisMachine);
  CHECK(peer_of("::1") == Peer::kThisMachine);
  CHECK(peer_of("::ffff:127.0.0.1") == Peer::kThisMachine);
  CHECK(peer_of("unix(uid=0)") == Peer::kUnixSocket);
  for (const char* other :
       {"10.0.0.1", "::2", "::ffff:10.0.0.1", "", "localhost", "128.0.0.1", "127.0.0.1 "}) {
    INFO(other);
    CHECK(peer_of(other) == Peer::kOtherMachine);
  }
}

TEST_CASE("P7.10 a token is long enough and fits into a header") {
  CHECK(check_token(kToken).ok());
  CHECK(check_token(std::string(1024, 'x')).ok());
  CHECK(check_token("Az09-._~+/=Az09-._~+/=").ok());
  for (const std::string& bad :
       {std::string(), std::string("0123456789abcde"), std::string(1025, 'x'),
        std::string("0123456789 abcdef"), std::string("0123456789abcdef\n")}) {
    const auto checked = check_token(bad);
    REQUIRE_FALSE(checked.ok());
    CHECK(checked.error().code() == ErrorCode::kInvalidArgument);
  }
}

// memcmp stops at the first difference: it takes next to nothing for a wrong first byte, and the
// whole time for a wrong last one.
TEST_CASE("P7.10 comparing takes as long for a wrong first byte as for a wrong last one") {
  const std::string secret(4 << 20, 'x');
  std::string first = secret;
  std::string last = secret;
  first.front() = 'y';
  last.back() = 'y';
  CHECK(equal_in_constant_time(secret, secret));
  const auto best_of = [&secret](const std::string& given) {
    auto best = std::chrono::nanoseconds::max();
    for (int i = 0; i < 7; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const bool equal = equal_in_constant_time(given, secret);
      best = std::min(best, std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin));
      CHECK_FALSE(equal);
    }
    return static_cast<double>(best.count());
  };
  const double ratio = best_of(first) / best_of(last);
  INFO(ratio);
  CHECK(ratio > 0.5);
  CHECK(ratio < 2);
}

}  // namespace
}  // namespace vigil::endpoints
