#include "tests/bench/held_threads.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_id.h"
#include "sampler/proc_thread.h"
#include "sampler/signal_capture.h"
#include "sampler/thread_snapshot.h"

namespace vigil::bench {
namespace {

using namespace std::chrono_literals;
using sampler::SignalCapture;

constexpr std::size_t kStackBytes = 16 * 1024;
// Between two captures, and the length of a look without one.
constexpr auto kBetween = 100us;

double at(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

HeldTimes times_of(std::vector<double> us) {
  if (us.empty()) return {};
  std::sort(us.begin(), us.end());
  return {at(us, 0.5), at(us, 0.99), at(us, 0.999), us.back()};
}

double us_of(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// A thread that looks at the time, and notes the longest pause between two looks.
class Watcher {
 public:
  Watcher() {
    thread_ = std::thread([this] { run(); });
    while (tid_ == 0) std::this_thread::yield();
  }
  ~Watcher() {
    stop_ = true;
    thread_.join();
  }
  pid_t tid() const { return tid_; }
  // The longest since the last call. Waits until the thread has looked again, twice.
  double take_longest_us() {
    const std::uint64_t seen = looks_;
    while (looks_ < seen + 2) std::this_thread::yield();
    return us_of(Duration(longest_ns_.exchange(0)));
  }

 private:
  static std::int64_t now_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
  }
  void run() {
    std::array<std::byte, kStackBytes> frame{};
    asm volatile("" ::"r"(frame.data()) : "memory");  // so that it is there
    tid_ = current_thread_id();
    for (std::int64_t last = now_ns(); !stop_;) {
      const std::int64_t now = now_ns();
      // A pause that take_longest_us() takes away at this moment counts for the next look.
      if (now - last > longest_ns_) longest_ns_ = now - last;
      last = now;
      looks_.store(looks_ + 1);
    }
  }

  std::atomic<pid_t> tid_{0};
  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> longest_ns_{0};
  std::atomic<std::uint64_t> looks_{0};
  std::thread thread_;
};

struct Captured {
  double handler_us = 0;
  std::size_t stack_bytes = 0;
};

std::optional<Captured> capture_once(SignalCapture& capture, Clock& clock, pid_t tid) {
  if (capture.request(tid, 0) != SignalCapture::Request::kQueued) return std::nullopt;
  std::optional<Captured> captured;
  const MonotonicTime deadline = clock.now() + 1s;
  while (capture.outstanding() != 0 && clock.now() < deadline) {
    capture.wait(deadline);
    while (const auto answer = capture.take_answer()) {
      captured = {us_of(answer->held), answer->stack.bytes.size()};
      capture.release(*answer);
    }
  }
  (void)capture.give_up();
  return captured;
}

// Threads that wait for the end.
class Waiters {
 public:
  explicit Waiters(int count) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { wait(); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tids_.size() == threads_.size(); });
  }
  ~Waiters() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    end_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  const std::vector<pid_t>& tids() const { return tids_; }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    tids_.push_back(current_thread_id());
    changed_.notify_one();
    end_.wait(lock, [this] { return ended_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable end_;
  bool ended_ = false;
  std::vector<pid_t> tids_;
  std::vector<std::thread> threads_;
};

std::uint64_t runs_of(const std::vector<pid_t>& tids) {
  return std::accumulate(tids.begin(), tids.end(), std::uint64_t{0},
                         [](std::uint64_t sum, pid_t tid) {
                           const auto runs = sampler::read_run_witness(tid);
                           return sum + (runs ? *runs : 0);
                         });
}

}  // namespace

RunningThread hold_running_thread(sampler::SignalChannel& channel, Clock& clock, int count) {
  Watcher watcher;
  SignalCapture capture(channel, clock);
  RunningThread result;
  std::vector<double> handler;
  std::vector<double> held;
  std::vector<double> without;
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_for(kBetween);
    (void)watcher.take_longest_us();
    if (const auto captured = capture_once(capture, clock, watcher.tid())) {
      held.push_back(watcher.take_longest_us());
      handler.push_back(captured->handler_us);
      result.stack_bytes = captured->stack_bytes;
    }
    std::this_thread::sleep_for(kBetween);
    (void)watcher.take_longest_us();
    // About as long as a capture takes.
    const MonotonicTime until = clock.now() + 10us;
    while (clock.now() < until) continue;
    without.push_back(watcher.take_longest_us());
  }
  result.captures = held.size();
  result.handler_us = times_of(std::move(handler));
  result.held_us = times_of(std::move(held));
  result.without_us = times_of(std::move(without));
  return result;
}

Result<BlockedThreads> hold_blocked_threads(sampler::SignalChannel& channel, Clock& clock,
                                            sampler::Modules& modules, sampler::Unwinder& unwinder,
                                            int threads, int rounds) {
  const Waiters waiters(threads);
  // The last of them may be on its way to sleep.
  while (runs_of(waiters.tids()) != (std::this_thread::sleep_for(10ms), runs_of(waiters.tids()))) {
  }
  BlockedThreads result;
  const std::uint64_t runs = runs_of(waiters.tids());
  for (int round = 0; round < rounds; ++round) {
    // A collector of its own each time: one remembers threads that have not run.
    auto collector = sampler::StackCollector::create({}, clock, modules, unwinder, channel);
    if (!collector) return std::move(collector).error();
    for (const sampler::ThreadStack& thread :
         (*collector)->capture(waiters.tids(), clock.now() + 1s)) {
      if (thread.failure != sampler::CaptureFailure::kNone) {
        return Error(ErrorCode::kUnsupported,
                     std::string(sampler::failure_sentence(thread.failure)));
      }
      result.held_us_max = std::max(result.held_us_max, us_of(thread.held));
      ++result.captures;
    }
  }
  result.runs = runs_of(waiters.tids()) - runs;
  return result;
}

}  // namespace vigil::bench
