#include "leakwatch/deadlock_watch.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

// The same cycle in a later pass has other witnesses if a capture had to use a signal.
WaitCycle without_witnesses(WaitCycle cycle) {
  for (WaitEdge& edge : cycle) edge.witness = 0;
  return cycle;
}

std::vector<pid_t> waiters_of(std::span<const WaitCycle> cycles) {
  std::vector<pid_t> threads;
  for (const WaitCycle& cycle : cycles) {
    for (const WaitEdge& edge : cycle) threads.push_back(edge.waiter);
  }
  return threads;
}

// What the futex alone looked like, the frames must confirm.
bool waits_for_lock(const DeadlockParty& party) {
  return party.stack.wait.kind == sampler::WaitKind::kMutex ||
         party.stack.wait.kind == sampler::WaitKind::kJoin;
}

bool contains(const std::vector<WaitCycle>& cycles, const WaitCycle& cycle) {
  return std::find(cycles.begin(), cycles.end(), cycle) != cycles.end();
}

}  // namespace

// All of the tasks' threads, or the next kThreadsMax of them, and those of known deadlocks.
std::vector<pid_t> DeadlockWatch::threads_to_look_at(std::span<const TaskInfo> live) {
  std::vector<pid_t> threads;
  // 10,000 tasks of a few threads are not worth sorting: by its lowest bits, who was noted last.
  std::array<pid_t, 64> noted{};
  for (const TaskInfo& task : live) {
    pid_t& same_bits = noted[static_cast<std::size_t>(task.thread) % noted.size()];
    if (task.waiting() || same_bits == task.thread) continue;
    same_bits = task.thread;
    threads.push_back(task.thread);
  }
  std::sort(threads.begin(), threads.end());
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  if (threads.size() > kThreadsMax) {
    next_thread_ %= threads.size();
    std::rotate(threads.begin(), threads.begin() + static_cast<std::ptrdiff_t>(next_thread_),
                threads.end());
    threads.resize(kThreadsMax);
    next_thread_ += kThreadsMax;
  }
  const std::vector<pid_t> known = waiters_of(present_);
  threads.insert(threads.end(), known.begin(), known.end());
  return threads;
}

DeadlockReport DeadlockWatch::report_of(const WaitCycle& cycle, std::span<const TaskInfo> live,
                                        MonotonicTime deadline) {
  std::vector<pid_t> threads;
  for (const WaitEdge& edge : cycle) threads.push_back(edge.waiter);
  std::vector<LiveStack> stacks = stacks_.capture(threads, deadline);
  DeadlockReport report;
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    DeadlockParty party{.waits = cycle[i], .task = {}, .stack = std::move(stacks[i])};
    party.task = innermost_task(live, cycle[i].waiter);
    report.parties.push_back(std::move(party));
  }
  return report;
}

bool DeadlockWatch::is_present(const DeadlockReport& report) const {
  WaitCycle cycle;
  for (const DeadlockParty& party : report.parties) cycle.push_back(party.waits);
  return contains(present_, without_witnesses(std::move(cycle)));
}

std::string format_deadlock(const DeadlockReport& report) {
  std::string text;
  for (const DeadlockParty& party : report.parties) {
    if (!text.empty()) text += '\n';
    fmt::format_to(std::back_inserter(text), "thread {} {}", party.waits.waiter,
                   valid_utf8(party.stack.thread_name));
    if (party.task) {
      fmt::format_to(std::back_inserter(text), " in task {} {}",
                     static_cast<std::uint64_t>(party.task->id), valid_utf8(party.task->label));
    }
    const std::string place = place_of(party.stack);
    fmt::format_to(std::back_inserter(text), "\nwaits for {}\n{}{}", party.stack.wait.text,
                   place.empty() ? "" : "where: " + place + "\n", format_stack(party.stack));
  }
  return text;
}

std::vector<DeadlockReport> DeadlockWatch::step(std::span<const TaskInfo> live,
                                                MonotonicTime deadline) {
  const std::vector<pid_t> threads = threads_to_look_at(live);
  if (threads.empty()) return {};
  const std::vector<WaitEdge> edges = stacks_.lock_waits(threads);
  const std::vector<WaitCycle> suspects = find_cycles(edges);
  std::vector<WaitCycle> confirmed;
  if (!suspects.empty()) {
    confirmed = confirmed_cycles(edges, stacks_.lock_waits(waiters_of(suspects)));
  }
  std::vector<DeadlockReport> found;
  std::vector<WaitCycle> present;
  for (const WaitCycle& cycle : confirmed) {
    WaitCycle bare = without_witnesses(cycle);
    if (!contains(present_, bare)) {
      DeadlockReport report = report_of(cycle, live, deadline);
      const auto& parties = report.parties;
      const bool real = std::all_of(parties.begin(), parties.end(), waits_for_lock);
      if (real) found.push_back(std::move(report));
    }
    present.push_back(std::move(bare));
  }
  present_ = std::move(present);
  return found;
}

}  // namespace vigil::leakwatch
