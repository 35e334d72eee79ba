#include "leakwatch/callback_thread.h"

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "base/fake_clock.h"
#include "base/thread_id.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

// Posts a call that does nothing and waits for it: those before it have ended.
void wait_for_all(CallbackThread& calls) {
  std::promise<void> last;
  calls.post([&] { last.set_value(); });
  last.get_future().wait();
}

TEST_CASE("calls run one after the other, in order, on a thread of their own") {
  SystemClock clock;
  CallbackThread calls({}, clock);
  std::vector<int> order;
  pid_t thread = 0;
  for (int i = 0; i < 3; ++i) {
    calls.post([&, i] {
      order.push_back(i);
      thread = current_thread_id();
    });
  }
  wait_for_all(calls);
  CHECK(order == std::vector<int>{0, 1, 2});
  CHECK(thread != current_thread_id());
  CHECK(calls.counters().called == 4);
  CHECK(calls.counters().failed == 0);
}

TEST_CASE("a call that throws is counted, and the next one runs") {
  SystemClock clock;
  CallbackThread calls({}, clock);
  calls.post([] { throw std::runtime_error("on purpose"); });
  wait_for_all(calls);
  CHECK(calls.counters().failed == 1);
  CHECK(calls.counters().called == 2);
}

TEST_CASE("a call beyond its budget is counted once, while it runs or when it ends") {
  FakeClock clock;
  CallbackThread calls({.budget = 50ms}, clock);
  std::promise<void> begun;
  std::promise<void> go;
  calls.post([&] {
    begun.set_value();
    go.get_future().wait();
  });
  begun.get_future().wait();
  clock.advance(50ms);
  CHECK_FALSE(calls.has_overrun(clock.now()));
  clock.advance(1ns);
  CHECK(calls.has_overrun(clock.now()));
  CHECK_FALSE(calls.has_overrun(clock.now() + 1h));
  go.set_value();
  wait_for_all(calls);
  CHECK(calls.counters().overrun == 1);

  // Nobody looks meanwhile: its end tells.
  calls.post([&] { clock.advance(51ms); });
  wait_for_all(calls);
  CHECK(calls.counters().overrun == 2);
}

TEST_CASE("what does not fit behind a call that goes on is dropped and counted") {
  SystemClock clock;
  CallbackThread calls({.queued_max = 2}, clock);
  std::promise<void> begun;
  std::promise<void> go;
  calls.post([&] {
    begun.set_value();
    go.get_future().wait();
  });
  begun.get_future().wait();
  int ran = 0;
  for (int i = 0; i < 3; ++i) calls.post([&] { ++ran; });
  CHECK(calls.counters().dropped == 1);
  go.set_value();
  while (calls.counters().called < 3) std::this_thread::yield();  // now there is room
  wait_for_all(calls);
  CHECK(ran == 2);
}

TEST_CASE("its end waits for a call that ends in time, and drops what has not begun") {
  SystemClock clock;
  std::promise<void> begun;
  std::promise<void> go;
  bool ended = false;
  std::atomic<bool> queued_ran{false};
  std::thread opener;
  {
    CallbackThread calls({.budget = 10s}, clock);
    calls.post([&] {
      begun.set_value();
      go.get_future().wait();
      ended = true;
    });
    calls.post([&] { queued_ran = true; });
    begun.get_future().wait();
    // When the end has begun: it drops what is queued before it waits.
    opener = std::thread([&] {
      while (calls.counters().dropped == 0) std::this_thread::yield();
      go.set_value();
    });
  }
  opener.join();
  CHECK(ended);
  CHECK_FALSE(queued_ran);
}

TEST_CASE("a call that never ends does not hold up the end beyond its budget") {
  // Shared: the thread goes on with them.
  struct Stuck {
    SystemClock clock;
    std::promise<void> begun;
    std::promise<void> go;
    std::promise<void> over;
  };
  const auto stuck = std::make_shared<Stuck>();
  MonotonicTime before{};
  {
    CallbackThread calls({.budget = 100ms}, stuck->clock);
    calls.post([stuck] {
      stuck->begun.set_value();
      stuck->go.get_future().wait();
      stuck->over.set_value();
    });
    stuck->begun.get_future().wait();
    before = stuck->clock.now();
  }
  const Duration took = stuck->clock.now() - before;
  CHECK(took >= 100ms);
  CHECK(took < 5s);
  stuck->go.set_value();
  stuck->over.get_future().wait();
}

}  // namespace
}  // namespace vigil::leakwatch
