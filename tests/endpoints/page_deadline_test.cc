#include "endpoints/page_deadline.h"

#include "base/fake_clock.h"
#include "tests/server-core/fake_exchange.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

using namespace std::chrono_literals;

// A request whose client has 30 s, of which the first second has gone by.
struct Asked {
  Asked() {
    exchange.transport.deadline = clock.now() + 30s;
    clock.advance(1s);
  }
  MonotonicTime cut() const { return exchange.response.write_deadline; }
  FakeClock clock;
  test::FakeExchange exchange;
};

}  // namespace

TEST_CASE("what a page takes to be made is not its client's time, up to a bound") {
  Asked asked;
  const MonotonicTime was = asked.exchange.transport.deadline;
  PageDeadline deadline(asked.exchange.response, asked.exchange.request, asked.clock, 60s);
  CHECK(asked.cut() == was + 60s + kPageMakingMax);

  asked.clock.advance(100s);
  deadline.made(Page());
  // The 29 s that were left at its begin.
  CHECK(asked.cut() == asked.clock.now() + 29s);
}

TEST_CASE("a page that is streamed is made while it is read: the first deadline stays") {
  Asked asked;
  PageDeadline deadline(asked.exchange.response, asked.exchange.request, asked.clock, 10s);
  const MonotonicTime first = asked.cut();
  asked.clock.advance(10s);
  Page page;
  page.stream = [](const PageWriter&) { return Result<void>(); };
  deadline.made(page);
  CHECK(asked.cut() == first);
}

TEST_CASE("a listener without a write timeout gets none from its pages") {
  Asked asked;
  asked.exchange.transport.deadline = kNoDeadline;
  asked.exchange.response.write_deadline = kNoDeadline;
  PageDeadline deadline(asked.exchange.response, asked.exchange.request, asked.clock, 10s);
  deadline.made(Page());
  CHECK(asked.cut() == kNoDeadline);
}

}  // namespace vigil::endpoints
