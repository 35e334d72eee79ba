// A program of a chosen size for `scripts/bench curves`: so many tasks, threads and frames.
//
// usage: bench-curve-host TASKS BLOCKED BUSY DEPTH
//
//   TASKS    live tasks on the main thread, 0 to 1,000,000
//   BLOCKED  threads that wait for ever, each in a task and DEPTH frames deep, 0 to 10,000
//   BUSY     threads that never wait, as deep, 0 to 64
//   DEPTH    frames of our own on each of these threads, 1 to 10,000
//
// Prints the debug listener's port once all is so, then goes on until it is killed.

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <vector>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/task_registry.h"
#include "tests/bench/arguments.h"

namespace {

using vigil::bench::number_argument;
using vigil::leakwatch::Task;
using vigil::leakwatch::TaskLabel;
using vigil::leakwatch::TaskRegistry;

constexpr const char* kProgram = "bench-curve-host";

enum class Ends { kWaits, kBurns };

struct Job {
  TaskRegistry& registry;
  TaskLabel label;
  long depth;
  Ends ends;
  std::atomic<long>& ready;
};

std::atomic<bool> over{false};  // never: the program is killed

long reach_end(const Job& job) {
  ++job.ready;
  while (!over) {
    if (job.ends == Ends::kWaits) pause();
  }
  return 0;
}

[[gnu::noinline]] long descend(const Job& job, long depth) {
  const long below = depth <= 1 ? reach_end(job) : descend(job, depth - 1);
  asm volatile("");  // no tail call
  return below + 1;
}

void* run(void* argument) {
  const Job& job = *static_cast<const Job*>(argument);
  const Task task(job.registry, job.label);
  descend(job, job.depth);
  return nullptr;
}

// `count` threads that run `job`; ready when they have all reached their ends.
void start(const Job& job, long count) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024 + 128 * static_cast<std::size_t>(job.depth));
  for (long i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, run, const_cast<Job*>(&job)) == 0) continue;
    std::fprintf(stderr, "%s: no more than %ld threads\n", kProgram, i);
    std::exit(1);
  }
  pthread_attr_destroy(&attributes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s TASKS BLOCKED BUSY DEPTH\n", kProgram);
    return 2;
  }
  const long tasks = number_argument(kProgram, "TASKS", argv[1], 0, 1'000'000);
  const long blocked = number_argument(kProgram, "BLOCKED", argv[2], 0, 10'000);
  const long busy = number_argument(kProgram, "BUSY", argv[3], 0, 64);
  const long depth = number_argument(kProgram, "DEPTH", argv[4], 1, 10'000);

  vigil::SystemClock clock;
  vigil::JsonLineSink sink;
  TaskRegistry registry(clock,
                        {.tasks_max = static_cast<std::size_t>(tasks + blocked + busy + 16)});
  vigil::AgentOptions options;
  options.debug_listen.port = 0;
  options.stuck_after = std::chrono::hours(24);
  auto agent = vigil::Agent::start(options, registry, sink, clock);
  if (!agent) {
    std::fprintf(stderr, "%s: %s\n", kProgram, agent.error().message().c_str());
    return 1;
  }
  std::deque<Task> live;
  for (long i = 0; i < tasks; ++i) live.emplace_back(registry, registry.intern("GET /held"));
  std::atomic<long> ready{0};
  const Job waits{registry, registry.intern("GET /waits"), depth, Ends::kWaits, ready};
  const Job burns{registry, registry.intern("GET /burns"), depth, Ends::kBurns, ready};
  start(waits, blocked);
  start(burns, busy);
  while (ready < blocked + busy) usleep(1000);
  std::printf("%u\n", static_cast<unsigned>((*agent)->debug_endpoint().port));
  std::fflush(stdout);
  while (!over) pause();
}
