// What threads do, seen from outside.
#include "sampler/trace/run_states.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/thread_id.h"
#include "sampler/trace/trace_capture.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

TEST_CASE("schedstat is three numbers") {
  CHECK(parse_schedstat("12 34 5\n") == SchedStat{{12ns, 34ns}, 5});
  CHECK(parse_schedstat("0 0 0") == SchedStat{});
  for (const char* text :
       {"", "1 2", "1 2 x", "1 2 3 4", "1 2 3\n\n", "99999999999999999999 1 1"}) {
    INFO(text);
    CHECK_FALSE(parse_schedstat(text));
  }
}

TEST_CASE("a thread's state between two looks is what it did for half of the time or more") {
  CHECK(run_state('S', 'S', 10ms, 0ms, 0ms) == RunState::kSleeping);
  CHECK(run_state('S', 'S', 10ms, 4ms, 0ms) == RunState::kSleeping);
  CHECK(run_state('S', 'S', 10ms, 5ms, 0ms) == RunState::kRunning);
  CHECK(run_state('S', 'R', 10ms, 10ms, 0ms) == RunState::kRunning);
  CHECK(run_state('S', 'R', 10ms, 3ms, 7ms) == RunState::kRunnable);
  CHECK(run_state('S', 'R', 10ms, 5ms, 5ms) == RunState::kRunning);
  CHECK(run_state('S', 'R', 10ms, 1ms, 1ms) == RunState::kSleeping);
  CHECK(run_state('R', 'R', 10ms, 1ms, 1ms) == RunState::kRunnable);
  CHECK(run_state('R', 'S', 10ms, 1ms, 1ms) == RunState::kSleeping);
  CHECK(run_state('S', 'D', 10ms, 9ms, 0ms) == RunState::kDisk);
  CHECK(run_state('S', 'T', 10ms, 0ms, 0ms) == RunState::kStopped);
  CHECK(run_state('S', 't', 10ms, 0ms, 0ms) == RunState::kStopped);
}

// One thread that is busy and one that sleeps, until the end of the scope.
class Pair {
 public:
  Pair() {
    busy_ = std::thread([this] {
      busy_id = current_thread_id();
      while (!stop_) {
      }
    });
    asleep_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      asleep_id = current_thread_id();
      wake_.wait(lock, [this] { return stop_.load(); });
    });
    while (busy_id == 0 || asleep_id == 0) std::this_thread::yield();
  }
  ~Pair() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    busy_.join();
    asleep_.join();
  }

  std::atomic<pid_t> busy_id{0};
  std::atomic<pid_t> asleep_id{0};

 private:
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread busy_;
  std::thread asleep_;
};

TEST_CASE("a capture sees a busy thread on a processor and a sleeping one asleep, without gaps") {
  const Pair pair;
  SystemClock clock;
  TraceOptions options;
  options.deadline = clock.now() + 300ms;
  const auto trace = capture_trace(options, clock, {});
  REQUIRE(trace);
  CHECK(trace->ended - trace->began >= 300ms);
  CHECK(trace->losses.run_states_absent.empty());
  Duration busy_awake{};
  Duration asleep{};
  std::map<pid_t, MonotonicTime> reached;
  std::size_t gaps = 0;
  for (const RunSlice& slice : trace->run_slices) {
    if (reached.contains(slice.thread) && reached[slice.thread] != slice.begin) ++gaps;
    reached[slice.thread] = slice.end;
    if (slice.thread == pair.busy_id && slice.state != RunState::kSleeping) {
      busy_awake += slice.end - slice.begin;
    }
    if (slice.thread == pair.asleep_id && slice.state == RunState::kSleeping) {
      asleep += slice.end - slice.begin;
    }
  }
  CHECK(gaps == 0);
  CHECK(busy_awake >= 250ms);
  CHECK(asleep >= 250ms);
  CHECK(reached[pair.busy_id] <= trace->ended);
  CHECK(trace->ended - reached[pair.busy_id] < 50ms);
  CHECK(trace->thread_names.contains(pair.asleep_id));
}

TEST_CASE("slices beyond the limit are dropped and counted, and so are events") {
  const Pair pair;
  SystemClock clock;
  TraceOptions options;
  options.deadline = clock.now() + 500ms;
  options.run_slices_max = 1;
  options.events_max = 2;
  auto emitting = trace::Recording::start();
  REQUIRE(emitting);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) {
      trace::emit({.begin_ns = trace::now_ns()});
      std::this_thread::yield();
    }
  });
  const auto trace = capture_trace(options, clock, {});
  stop = true;
  writer.join();
  REQUIRE(trace);
  CHECK(trace->run_slices.size() == 1);
  CHECK(trace->losses.slices_dropped >= 1);
  CHECK(trace->events.size() == 2);
  CHECK(trace->losses.dropped > 0);
  CHECK(trace->losses.dropped_from >= trace->began);
}

TEST_CASE("a capture ends at once when it is told to") {
  SystemClock clock;
  std::stop_source source;
  source.request_stop();
  const auto trace = capture_trace({}, clock, source.get_token());
  REQUIRE_FALSE(trace);
  CHECK(trace.error().code() == ErrorCode::kClosed);
  CHECK_FALSE(trace::recording());
}

}  // namespace
}  // namespace vigil::sampler
