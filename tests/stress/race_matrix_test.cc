// P6.1, the race matrix: everything that profilers are known to stumble over, beside every collector at
// its highest rate. Nothing crashes or hangs, no disturbance is disturbed in turn, and what the
// collectors say is complete, or says what it lacks.
//
// Some seconds in the suite; VIGIL_STRESS_SECONDS makes it that long (the entry labelled stress).
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "base/text.h"
#include "base/thread_id.h"
#include "sampler/labels.h"
#include "tests/stress/collectors.h"
#include "tests/stress/disturbance.h"
#include "tests/support/catch.h"
#include "tests/support/sanitizer.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// From the end of a run: a thread that is not back by then never comes back.
constexpr Duration kJoinDeadline = 60s;

double own_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// One disturbance on a thread of its own, under the label kWho.
class DisturbingThread {
 public:
  DisturbingThread(std::string name, const Disturbance& what, const std::atomic<bool>& stop,
                   Meeting& meeting)
      : name_(std::move(name)), turn_(stop, meeting), thread_([this, &what] {
          const LabelScope labels({{kWho, name_}});
          tid_ = current_thread_id();
          const double before = own_cpu_seconds();
          what.run(turn_);
          cpu_seconds_ = own_cpu_seconds() - before;
          tid_ = 0;
          ended_ = true;
        }) {}

  const std::string& name() const { return name_; }
  const Turn& turn() const { return turn_; }
  // 0 before it has begun its work, and after.
  pid_t tid() const { return tid_; }
  bool ended() const { return ended_; }
  double cpu_seconds() const { return cpu_seconds_; }

 private:
  const std::string name_;
  Turn turn_;
  std::atomic<pid_t> tid_{0};
  std::atomic<bool> ended_{false};
  std::atomic<double> cpu_seconds_{0};
  std::jthread thread_;
};

// Whatever hangs is named, and the process ends: a thread that hangs cannot be joined.
template <typename Ended>
void end_or_abort(const char* who, MonotonicTime deadline, const Ended& ended) {
  while (!ended()) {
    if (std::chrono::steady_clock::now() > deadline) {
      std::fprintf(stderr, "the race matrix: %s did not end\n", who);
      std::abort();
    }
    const timespec moment{0, 1'000'000};
    nanosleep(&moment, nullptr);
  }
}

// `threads` of each of `all` beside the collectors, for `time`.
void run_matrix(Collectors& collectors, std::span<const Disturbance> all, int threads,
                Duration time) {
  std::atomic<bool> stop{false};
  Meeting meeting;
  std::vector<std::unique_ptr<DisturbingThread>> disturbing;
  std::mutex starting;  // the collectors run while the vector grows
  collectors.start([&] {
    std::set<pid_t> tids;
    const std::lock_guard lock(starting);
    for (const auto& thread : disturbing) {
      if (const pid_t tid = thread->tid(); tid != 0) tids.insert(tid);
    }
    return tids;
  });
  const MonotonicTime end = std::chrono::steady_clock::now() + time;
  for (const Disturbance& what : all) {
    for (int i = 0; i < threads; ++i) {
      auto thread = std::make_unique<DisturbingThread>(
          std::string(what.name) + " " + std::to_string(i), what, stop, meeting);
      const std::lock_guard lock(starting);
      disturbing.push_back(std::move(thread));
    }
  }
  std::this_thread::sleep_until(end);
  stop = true;
  const MonotonicTime deadline = std::chrono::steady_clock::now() + kJoinDeadline;
  for (const auto& thread : disturbing) {
    end_or_abort(thread->name().c_str(), deadline, [&] { return thread->ended(); });
  }
  collectors.stop();
  end_or_abort("a collector", deadline, [&] { return collectors.ended(); });
  const Observed observed = collectors.join();

  CHECK(observed.errors == std::set<std::string>{});
  for (const auto& thread : disturbing) {
    INFO(thread->name() << ": " << thread->turn().rounds() << " rounds, " << thread->cpu_seconds()
                        << " s of CPU; " << thread->turn().first_fault());
    CHECK(thread->turn().rounds() > 0);
    CHECK(thread->turn().faults() == 0);
    // Every nanosecond is in the profile or among the lost. The kernel looks at its timers 250
    // times a second, and the first 10 ms of a thread may be before its timer.
    const auto found = observed.cpu_ns.find(thread->name());
    const double seen =
        1e-9 * static_cast<double>(found == observed.cpu_ns.end() ? 0 : found->second);
    const double lost = 1e-9 * static_cast<double>(observed.cpu_lost_ns);
    CHECK(seen > 0.9 * thread->cpu_seconds() - 0.05 - lost);
    CHECK(seen < 1.1 * thread->cpu_seconds() + 0.05);
    // Looks without an answer and rounds that came too late are counted; of a seventh of a second
    // on a busy machine that can be all, and of four seconds under a sanitizer, which makes each
    // thread run several times longer.
    const bool looked = observed.wall_unanswered == 0 && observed.wall_rounds_skipped == 0;
    if (looked || (time >= 2s && !kUnderSanitizer)) {
      CHECK(observed.wall_ns.contains(thread->name()));
    }
  }
  CHECK(observed.cpu_profiles > 0);
  CHECK(observed.wall_looks > 0);
  CHECK(observed.dumps > 0);
  CHECK(observed.unlisted == 0);
  CHECK(observed.without_reason == 0);
  CHECK(observed.longest_dump < 10s);
  if (collectors.has_heap()) {
    CHECK(observed.snapshots > 0);
    const auto held = static_cast<double>(HeldMemory::kBlocks * HeldMemory::kBlockBytes);
    CHECK(static_cast<double>(observed.held_bytes) > 0.8 * held);
    CHECK(static_cast<double>(observed.held_bytes) < 1.2 * held);
  }
  if (collectors.has_contention()) {
    CHECK(observed.views > 0);
    CHECK(observed.shrunk == 0);
    CHECK(observed.contention.samples > 0);
    CHECK(observed.contention.waiting == 0);
  }
}

Duration stress_time() {
  const char* const text = std::getenv("VIGIL_STRESS_SECONDS");
  if (text == nullptr) return std::chrono::seconds(4);
  const auto seconds = parse_integer(text, 1, 24 * 60 * 60);
  if (!seconds) throw std::invalid_argument("VIGIL_STRESS_SECONDS: " + seconds.error().message());
  return std::chrono::seconds(*seconds);
}

TEST_CASE("P6.1 race matrix: each disturbance by itself, on two threads") {
  Collectors collectors;
  const HeldMemory held;
  const auto all = disturbances();
  for (const Disturbance& what : all) {
    INFO(what.name);
    run_matrix(collectors, {&what, 1}, 2, stress_time() / (2 * all.size()));
  }
}

TEST_CASE("P6.1 race matrix: all disturbances at once") {
  Collectors collectors;
  const HeldMemory held;
  run_matrix(collectors, disturbances(), 1, stress_time());
}

}  // namespace
}  // namespace vigil::test
