// P9.3: a session of HTTP/2 while each of its allocations fails, those of nghttp2 among them.
#include "server-core/http2_memory.h"

#include <malloc.h>

#include <new>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/faults.h"
#include "tests/support/http2_echo.h"
#include "tests/support/http2_frames.h"

using namespace vigil;
using namespace vigil::test;

namespace {

std::string from_client() {
  std::string bytes = h2::kPreface + h2::settings() + h2::get(1, "/hello");
  bytes += h2::post(3, "/echo") + h2::data(3, std::string(5000, 'b'));
  for (std::uint32_t id = 5; id < 25; id += 2) bytes += h2::get(id, "/hello");
  return bytes + h2::get(25, "/hold") + h2::rst(25) + h2::ping();
}

struct Session {
  std::uint64_t calls = 0;
  bool gave_up = false;
  std::string sent;
};

// One from beginning to end, whose n-th allocation fails.
Session live(std::uint64_t n, const std::string& input) {
  static constexpr Fault kFault{"malloc: ENOMEM", Call::kMalloc, ENOMEM};
  const std::string later = h2::settings_ack() + h2::get(27, "/hello");
  Session life;
  const FaultAt fault(kFault, n);
  try {
    Http2Echo echo{{}};
    try {
      life.sent = echo.exchange(input);
      const std::string more = echo.exchange(later);
      const Unharmed us;
      life.sent += more;
    } catch (const std::bad_alloc&) {
      life.gave_up = true;
      const Unharmed us;
      CHECK(echo.session().ended());
      CHECK_FALSE(echo.session().has_output());
      CHECK_THROWS_AS(echo.exchange(h2::ping()), std::bad_alloc);
      CHECK_THROWS_AS(echo.session().ping(), std::bad_alloc);
    }
  } catch (const std::bad_alloc&) {
    life.gave_up = true;  // there has been no session
  }
  life.calls = fault.calls();
  return life;
}

}  // namespace

TEST_CASE("P9.3: a session of HTTP/2 while its n-th allocation fails, for each n") {
  const std::string input = from_client();
  const std::string right = live(0, input).sent;
  h2::Reader reader;
  reader.feed(right);
  REQUIRE(reader.response(3).body == std::string(5000, 'b'));
  REQUIRE(reader.response(27).ended);
  const std::size_t before = ::mallinfo2().uordblks;
  std::uint64_t n = 0;
  Session life;
  do {
    life = live(++n, input);
    INFO("allocation " << n << " of " << life.calls);
    CHECK((life.gave_up || life.sent == right));
  } while (life.calls >= n);
  CHECK(n > 100);
  // A session that is not freed whole keeps some KB of each run.
  const std::size_t after = ::mallinfo2().uordblks;
  CHECK(after < before + 64 * 1024);
}

TEST_CASE("Http2Memory frees what is left, and stays whole when something cannot grow") {
  static constexpr Fault kFault{"realloc: ENOMEM", Call::kMalloc, ENOMEM};
  const std::size_t before = ::mallinfo2().uordblks;
  {
    http::Http2Memory memory;
    void* const first = memory.allocate(200'000);
    REQUIRE(first != nullptr);
    auto* zeroed = static_cast<char*>(memory.allocate_zeroed(1000, 100));
    REQUIRE(zeroed != nullptr);
    CHECK(std::string_view(zeroed, 100'000) == std::string(100'000, '\0'));
    zeroed[99'999] = 'x';
    zeroed = static_cast<char*>(memory.reallocate(zeroed, 120'000));
    CHECK(zeroed[99'999] == 'x');
    CHECK_FALSE(memory.failed());
    {
      const FaultAt fault(kFault, 1);
      CHECK(memory.reallocate(zeroed, 130'000) == nullptr);
    }
    CHECK(memory.failed());
    CHECK(zeroed[99'999] == 'x');
    http::Http2Memory::release(first);
    http::Http2Memory::release(nullptr);
    CHECK(memory.allocate_zeroed(std::size_t{1} << 60, 1 << 10) == nullptr);
  }
  CHECK(::mallinfo2().uordblks < before + 64 * 1024);
}
