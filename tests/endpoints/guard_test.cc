#include "endpoints/guard.h"

#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

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
  }
}

TEST_CASE("P7.3 a request that another page caused is refused") {
  CHECK_FALSE(refusal({.host = "localhost", .origin = {}, .sec_fetch_site = {}}));
  CHECK_FALSE(refusal({.host = "localhost", .origin = {}, .sec_fetch_site = "none"}));
  CHECK_FALSE(refusal({.host = "localhost", .origin = {}, .sec_fetch_site = "same-origin"}));
  CHECK(refusal({.host = "localhost", .origin = {}, .sec_fetch_site = "cross-site"}));
  CHECK(refusal({.host = "localhost", .origin = {}, .sec_fetch_site = "same-site"}));
  CHECK(refusal({.host = "localhost", .origin = "http://evil.example", .sec_fetch_site = {}}));
  CHECK(refusal({.host = "localhost", .origin = "null", .sec_fetch_site = {}}));
}

TEST_CASE("P7.7 a refusal never repeats what the client sent") {
  const auto reason = refusal({.host = "evil.example", .origin = {}, .sec_fetch_site = {}});
  REQUIRE(reason);
  CHECK(reason->find("evil") == std::string::npos);
}

}  // namespace
}  // namespace vigil::endpoints
