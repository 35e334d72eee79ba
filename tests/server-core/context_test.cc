// Contexts, the deadline timer, and what a Request does with both, on fake time and a fake
// transport.
#include "server-core/context.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "base/fake_clock.h"
#include "server-core/deadline_timer.h"
#include "tests/server-core/body_transport.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using vigil::test::eventually;

namespace {
inline constexpr ContextKey<std::string> kUser("user");
inline constexpr ContextKey<std::string> kTenant("user");  // the same name: another key
inline constexpr ContextKey<int> kDepth("depth");
}  // namespace

TEST_CASE("a context's values: typed, found by key, the last one wins, ancestors unchanged") {
  const Context background;
  CHECK(background.value(kUser) == nullptr);
  CHECK(background.deadline() == kNoDeadline);
  CHECK_FALSE(background.stopped());
  const Context a = background.with_value(kUser, "ann");
  const Context b = a.with_value(kDepth, 1).with_value(kUser, "bob");
  REQUIRE(a.value(kUser) != nullptr);
  CHECK(*a.value(kUser) == "ann");
  CHECK(*b.value(kUser) == "bob");
  CHECK(*b.value(kDepth) == 1);
  CHECK(a.value(kDepth) == nullptr);
  CHECK(b.value(kTenant) == nullptr);
}

TEST_CASE("values live as long as the last context that has them") {
  struct Watched {
    std::shared_ptr<int> alive;
  };
  static constexpr ContextKey<Watched> kWatched("watched");
  auto alive = std::make_shared<int>(1);
  Context kept;
  {
    const Context first = Context().with_value(kWatched, Watched{alive});
    kept = first.with_value(kDepth, 2);
  }
  CHECK(alive.use_count() == 2);
  CHECK(kept.value(kWatched)->alive == alive);
  kept = Context();
  CHECK(alive.use_count() == 1);
}

TEST_CASE("a context is stopped with each of those that it comes from, and no other") {
  std::stop_source parent, other;
  const Context root = Context().for_request(kNoDeadline, parent.get_token(), nullptr);
  const Context child = root.with_stop(other.get_token());
  const Context grandchild = child.with_value(kDepth, 1);
  CHECK_FALSE(grandchild.stopped());
  other.request_stop();
  CHECK(child.stopped());
  CHECK(grandchild.stopped());
  CHECK_FALSE(root.stopped());
  const Context second = root.with_stop(std::stop_token());
  CHECK_FALSE(second.stopped());
  parent.request_stop();
  CHECK(second.stopped());
  CHECK(root.with_stop(std::stop_token()).stopped());
}

TEST_CASE("a context with a deadline is stopped when it passes, not before, and not its parent") {
  FakeClock clock;
  const auto timer = std::make_shared<DeadlineTimer>(clock);
  const MonotonicTime begin = clock.now();
  const Context root(timer);
  const Context two = root.with_deadline(begin + 2s);
  const Context one = two.with_deadline(begin + 1s);
  const Context longer = two.with_deadline(begin + 9s);
  CHECK(two.deadline() == begin + 2s);
  CHECK(one.deadline() == begin + 1s);
  CHECK(longer.deadline() == begin + 2s);
  REQUIRE(eventually([&] { return clock.waiters() == 1; }));
  clock.advance(1s - 1ns);
  CHECK_FALSE(one.stopped());
  clock.advance(1ns);
  CHECK(eventually([&] { return one.stopped(); }));
  CHECK_FALSE(two.stopped());
  clock.advance(1s);
  CHECK(eventually([&] { return two.stopped() && longer.stopped(); }));
  CHECK_FALSE(root.stopped());
  CHECK(root.with_deadline(begin).stop_token().stop_possible());
}

TEST_CASE("the deadline timer runs actions in order, once, and never after cancel") {
  FakeClock clock;
  DeadlineTimer timer(clock);
  std::mutex mutex;
  std::string ran;
  const auto note = [&](char c) {
    return [&, c] {
      std::lock_guard lock(mutex);
      ran += c;
    };
  };
  const auto seen = [&] {
    std::lock_guard lock(mutex);
    return ran;
  };
  const MonotonicTime begin = clock.now();
  DeadlineTimer::Entry late = timer.at(begin + 3s, note('c'));
  DeadlineTimer::Entry early = timer.at(begin + 1s, note('a'));
  DeadlineTimer::Entry cancelled = timer.at(begin + 1s, note('x'));
  DeadlineTimer::Entry middle = timer.at(begin + 2s, note('b'));
  cancelled.cancel();
  cancelled.cancel();
  { const DeadlineTimer::Entry dropped = timer.at(begin + 2s, note('y')); }
  clock.advance(10s);
  CHECK(eventually([&] { return seen() == "abc"; }));
  early.cancel();  // has run: nothing to do
  DeadlineTimer::Entry past = timer.at(begin, note('d'));
  CHECK(eventually([&] { return seen() == "abcd"; }));
  timer.stop();
  DeadlineTimer::Entry after = timer.at(begin + 99s, note('e'));
  CHECK(seen() == "abcde");  // nobody would watch it: it counts as passed
}

TEST_CASE("cancel waits for an action that runs, unless the action itself calls it") {
  SystemClock clock;
  DeadlineTimer timer(clock);
  test::Gate gate;
  std::atomic<bool> ended{false};
  DeadlineTimer::Entry slow = timer.at(clock.now(), [&] {
    gate.wait();
    ended = true;
  });
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  std::atomic<bool> ended_at_cancel{false};
  std::thread canceller([&] {
    slow.cancel();
    ended_at_cancel = ended.load();
  });
  gate.open();
  canceller.join();
  CHECK(ended_at_cancel);

  DeadlineTimer::Entry self;
  std::mutex mutex;
  std::atomic<bool> returned{false};
  {
    std::lock_guard lock(mutex);  // the action sees `self` only when it is there
    self = timer.at(clock.now(), [&] {
      std::lock_guard inner(mutex);
      self.cancel();
      returned = true;
    });
  }
  CHECK(eventually([&] { return returned.load(); }));
}

TEST_CASE("middleware narrows the context of the inner handler, and only of that") {
  FakeClock clock;
  const auto timer = std::make_shared<DeadlineTimer>(clock);
  test::BodyTransport transport;
  transport.timer = timer;
  transport.deadline = clock.now() + 30s;
  Request request;
  REQUIRE(request.reset({}, transport, clock.now()));
  CHECK(request.context().deadline() == clock.now() + 30s);
  const std::stop_token outer = request.stop_token();
  {
    const ContextScope user(request, request.context().with_value(kUser, "ann"));
    {
      const ContextScope shorter(request, request.context().with_deadline(clock.now() + 1s));
      CHECK(*request.context().value(kUser) == "ann");
      CHECK(request.context().deadline() == clock.now() + 1s);
      clock.advance(1s);
      CHECK(eventually([&] { return request.stop_token().stop_requested(); }));
    }
    CHECK_FALSE(request.stop_token().stop_requested());
    CHECK(*request.context().value(kUser) == "ann");
  }
  CHECK(request.context().value(kUser) == nullptr);
  CHECK_FALSE(outer.stop_requested());
  transport.stop.request_stop();
  CHECK(outer.stop_requested());
}
