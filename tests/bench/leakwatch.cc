// What the task registry and the watchdog cost: run by scripts/bench leakwatch, one JSON object on
// stdout.

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/live_stacks.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/symbolizer.h"
#include "sampler/thread_snapshot.h"
#include "sampler/unwinder.h"

namespace {

using namespace std::chrono_literals;
using vigil::Duration;
using vigil::leakwatch::Task;
using vigil::leakwatch::TaskLabel;
using vigil::leakwatch::TaskRegistry;
using vigil::leakwatch::Watchdog;

constexpr int kRounds = 7;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double nanoseconds_of(Duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}

// One begin and end with its clock read, in nanoseconds: of wall time times processors used, over
// pairs.
double pair_cost(TaskRegistry& registry, TaskLabel label, int threads) {
  constexpr int kPairs = 2'000'000;
  std::atomic<bool> go{false};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      while (!go.load()) std::this_thread::yield();
      for (int pair = 0; pair < kPairs; ++pair) const Task task(registry, label);
    });
  }
  timespec before{};
  timespec after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  go.store(true);
  for (std::thread& worker : workers) worker.join();
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const double used = static_cast<double>(after.tv_sec - before.tv_sec) * 1e9 +
                      static_cast<double>(after.tv_nsec - before.tv_nsec);
  return used / (static_cast<double>(kPairs) * threads);
}

double median_pair_cost(TaskRegistry& registry, TaskLabel label, int threads) {
  std::vector<double> costs;
  for (int i = 0; i < kRounds; ++i) costs.push_back(pair_cost(registry, label, threads));
  return median(std::move(costs));
}

// `tasks` spread over `threads` threads that all block until the object's end.
class Held {
 public:
  Held(TaskRegistry& registry, TaskLabel label, int threads, int tasks) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    jobs_.resize(static_cast<std::size_t>(threads));
    for (Job& job : jobs_) {
      job = {this, &registry, label, tasks / threads};
      pthread_t thread;
      if (pthread_create(&thread, &attributes, run, &job) != 0) break;
      threads_.push_back(thread);
    }
    pthread_attr_destroy(&attributes);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ready_ == threads_.size(); });
  }
  ~Held() {
    {
      std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  }
  std::size_t threads() const { return threads_.size(); }

 private:
  struct Job {
    Held* held = nullptr;
    TaskRegistry* registry = nullptr;
    TaskLabel label;
    int tasks = 0;
  };
  static void* run(void* argument) {
    const Job& job = *static_cast<Job*>(argument);
    std::deque<Task> tasks;
    for (int i = 0; i < job.tasks; ++i) tasks.emplace_back(*job.registry, job.label);
    std::unique_lock lock(job.held->mutex_);
    ++job.held->ready_;
    job.held->changed_.notify_all();
    job.held->changed_.wait(lock, [&] { return job.held->over_; });
    lock.unlock();
    while (!tasks.empty()) tasks.pop_back();
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t ready_ = 0;
  bool over_ = false;
  std::vector<Job> jobs_;
  std::vector<pthread_t> threads_;
};

class NullSink final : public vigil::LogSink {
 public:
  void write(const vigil::LogRecord&) noexcept override {}
};

// The parts that an agent has.
struct Parts {
  vigil::SystemClock clock;
  NullSink sink;
  vigil::sampler::Modules modules;
  vigil::sampler::Unwinder unwinder{modules};
  std::unique_ptr<vigil::sampler::SignalChannel> channel =
      *vigil::sampler::SignalChannel::install({});
  std::unique_ptr<vigil::sampler::StackCollector> collector =
      *vigil::sampler::StackCollector::create({}, clock, modules, unwinder, *channel);
  std::unique_ptr<vigil::sampler::Symbolizer> symbolizer = *vigil::sampler::Symbolizer::create({});
  vigil::leakwatch::LiveStacks stacks{*collector, modules, *symbolizer};
};

double resident_kib() {
  std::ifstream file("/proc/self/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024;
}

double median_pass_ms(Parts& parts, TaskRegistry& registry) {
  auto watchdog =
      *Watchdog::create({.threshold = 1h}, registry, parts.stacks, parts.sink, parts.clock);
  std::vector<double> passes;
  for (int i = 0; i < 101; ++i) {
    const auto before = parts.clock.now();
    watchdog->step(before);
    passes.push_back(nanoseconds_of(parts.clock.now() - before) / 1e6);
  }
  return median(std::move(passes));
}

struct Storm {
  double ms = 0;
  double kib = 0;
  std::uint64_t flagged = 0;
  std::uint64_t reports = 0;
  std::size_t threads = 0;
};

// All tasks past the threshold at once, each on a thread of its own.
Storm storm(Parts& parts) {
  constexpr int kTasks = 5'000;
  TaskRegistry registry(parts.clock);
  const Held held(registry, registry.intern("GET /storm"), kTasks, kTasks);
  auto watchdog =
      *Watchdog::create({.threshold = 1s}, registry, parts.stacks, parts.sink, parts.clock);
  const double before_kib = resident_kib();
  const auto before = parts.clock.now();
  watchdog->step(before + 1h);
  Storm result;
  result.ms = nanoseconds_of(parts.clock.now() - before) / 1e6;
  result.kib = resident_kib() - before_kib;
  result.flagged = watchdog->counters().flagged;
  result.reports = watchdog->counters().reported;
  result.threads = held.threads();
  return result;
}

}  // namespace

int main() {
  Parts parts;
  TaskRegistry registry(parts.clock);
  const TaskLabel label = registry.intern("GET /bench");
  double one = 0;
  double four = 0;
  double pass = 0;
  {
    const Held held(registry, label, 32, 10'000);
    one = median_pair_cost(registry, label, 1);
    four = median_pair_cost(registry, label, 4);
    pass = median_pass_ms(parts, registry);
  }
  const Storm stormed = storm(parts);
  fmt::print(
      "{{\"pair_ns_one_thread\": {:.1f}, \"pair_ns_four_threads\": {:.1f}, \"pass_ms\": {:.3f}, "
      "\"storm_ms\": {:.1f}, \"storm_kib\": {:.0f}, \"storm_flagged\": {}, \"storm_reports\": {}, "
      "\"storm_threads\": {}}}\n",
      one, four, pass, stormed.ms, stormed.kib, stormed.flagged, stormed.reports, stormed.threads);
  return 0;
}
