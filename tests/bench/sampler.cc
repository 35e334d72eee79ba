// What a sample costs the thread that it is taken of, and the collector: run by
// `scripts/bench sampler --only=sample`, one JSON object on stdout.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_id.h"
#include "sampler/cpu_profiler.h"
#include "sampler/module_table.h"
#include "sampler/signal_capture.h"
#include "sampler/signal_channel.h"
#include "sampler/unwinder.h"

namespace {

using namespace std::chrono_literals;
using vigil::sampler::CpuProfiler;
using vigil::sampler::Modules;
using vigil::sampler::SignalCapture;
using vigil::sampler::SignalChannel;
using vigil::sampler::Unwinder;

constexpr int kDepth = 27;  // with the thread's own frames, some 30

std::atomic<bool> stop{false};

// Which of two functions a level calls is in the bits of `path`: 2^27 stacks.
long descend_left(int depth, std::uint64_t path);
long descend_right(int depth, std::uint64_t path);

long burn(std::uint64_t turns) {
  long sum = 0;
  for (std::uint64_t i = 0; i < turns; ++i) {
    sum += static_cast<long>(i);
    asm volatile("" : "+r"(sum));
  }
  return sum;
}

long step(int depth, std::uint64_t path) {
  if (depth == 0) return burn(2'000'000);
  const long below =
      (path & 1) != 0 ? descend_left(depth - 1, path >> 1) : descend_right(depth - 1, path >> 1);
  asm volatile("");  // no tail call
  return below + 1;
}

[[gnu::noinline]] long descend_left(int depth, std::uint64_t path) { return step(depth, path); }
[[gnu::noinline]] long descend_right(int depth, std::uint64_t path) {
  return step(depth, path) + 1;
}

enum class Paths { kOne, kMany };

void work(Paths paths, std::atomic<pid_t>& tid) {
  tid = vigil::current_thread_id();
  std::uint64_t random = 0x9E3779B97F4A7C15u;
  while (!stop) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    descend_left(kDepth, paths == Paths::kOne ? 0 : random >> 32);
  }
}

struct Worker {
  explicit Worker(Paths paths) {
    stop = false;
    thread = std::thread([this, paths] { work(paths, tid); });
    while (tid == 0) std::this_thread::yield();
  }
  ~Worker() {
    stop = true;
    thread.join();
  }
  std::atomic<pid_t> tid{0};
  std::thread thread;
};

// How long the handler kept a busy thread, in microseconds: each of `count` captures.
std::vector<double> handler_times(SignalChannel& channel, vigil::Clock& clock, int count) {
  const Worker worker(Paths::kOne);
  SignalCapture capture(channel, clock);
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    if (capture.request(worker.tid, 0) != SignalCapture::Request::kQueued) continue;
    const vigil::MonotonicTime deadline = clock.now() + 1s;
    while (capture.outstanding() != 0 && clock.now() < deadline) {
      capture.wait(deadline);
      while (const auto answer = capture.take_answer()) {
        times.push_back(std::chrono::duration<double, std::micro>(answer->held).count());
        capture.release(*answer);
      }
    }
    (void)capture.give_up();
    std::this_thread::sleep_for(100us);
  }
  std::sort(times.begin(), times.end());
  return times;
}

double at(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

struct Collected {
  double cpu_us = 0;  // of the collector
  double samples = 0;
};

// A profile of kSeconds at 1,000 Hz.
constexpr auto kSeconds = 4s;
Collected collect(CpuProfiler& profiler, SignalChannel& channel, vigil::Clock& clock) {
  const std::uint64_t before = channel.counters().samples;
  const auto profile =
      profiler.profile({.hz = 1000, .deadline = clock.now() + kSeconds}, std::stop_token());
  if (!profile) return {};
  return {static_cast<double>(profile->counters.at("collector_cpu_ns")) / 1e3,
          static_cast<double>(channel.counters().samples - before)};
}

// The collector's CPU time for a sample, capture to sum, in microseconds: what its rounds take without
// any, every 10 ms, is `rounds_us` in all.
double sample_us(CpuProfiler& profiler, SignalChannel& channel, vigil::Clock& clock, Paths paths,
                 double rounds_us) {
  const Worker worker(paths);
  const Collected collected = collect(profiler, channel, clock);
  return collected.samples == 0 ? 0 : (collected.cpu_us - rounds_us) / collected.samples;
}

}  // namespace

int main() {
  vigil::SystemClock clock;
  Modules modules;
  Unwinder unwinder(modules);
  if (!modules.refresh()) return 1;
  auto channel = SignalChannel::install({});
  if (!channel) {
    std::fprintf(stderr, "bench-sampler: %s\n", channel.error().message().c_str());
    return 1;
  }
  CpuProfiler profiler(clock, modules, unwinder, **channel);
  const std::vector<double> held = handler_times(**channel, clock, 10'000);
  const double rounds_us = collect(profiler, **channel, clock).cpu_us;
  const double same = sample_us(profiler, **channel, clock, Paths::kOne, rounds_us);
  const double many = sample_us(profiler, **channel, clock, Paths::kMany, rounds_us);
  const double share = rounds_us / 1e6 / std::chrono::duration<double>(kSeconds).count();
  std::printf(
      "{\"handler_captures\": %zu, \"handler_us_p50\": %.2f, \"handler_us_p99\": %.2f, "
      "\"handler_us_p999\": %.2f, \"handler_us_max\": %.2f, \"collector_share_without_samples\": "
      "%.4f, "
      "\"collector_us_same_stack\": %.2f, \"collector_us_new_stacks\": %.2f}\n",
      held.size(), at(held, 0.5), at(held, 0.99), at(held, 0.999), at(held, 1), share, same, many);
}
