#include "sampler/trace/run_states.h"

#include <utility>

namespace vigil::sampler {
std::string_view run_state_name(RunState state) {
  switch (state) {
    case RunState::kRunning:
      return "running";
    case RunState::kRunnable:
      return "runnable";
    case RunState::kSleeping:
      return "sleeping";
    case RunState::kDisk:
      return "disk";
    case RunState::kStopped:
      return "stopped";
  }
  return "?";
}

RunState run_state(char before, char after, Duration elapsed, Duration on_cpu, Duration runnable) {
  if (after == 'D') return RunState::kDisk;
  if (after == 'T' || after == 't') return RunState::kStopped;
  const bool awake = on_cpu + runnable >= elapsed / 2;
  if (!awake) return before == 'R' && after == 'R' ? RunState::kRunnable : RunState::kSleeping;
  return on_cpu >= runnable ? RunState::kRunning : RunState::kRunnable;
}

Result<std::size_t> RunStates::look(MonotonicTime now) {
  const Result<std::vector<pid_t>> threads = list_threads();
  if (!threads) return threads.error();
  ++round_;
  for (const pid_t thread : *threads) look_at(thread, now);
  // Those that were not there have ended; what is known of them ends with their last look.
  for (auto at = threads_.begin(); at != threads_.end();) {
    if (at->second.round == round_) {
      ++at;
      continue;
    }
    close(at->second);
    at = threads_.erase(at);
  }
  return threads->size();
}

void RunStates::look_at(pid_t thread, MonotonicTime now) {
  const Result<SchedStat> stat = read_schedstat(thread);
  if (!stat) return;
  const auto [at, is_new] = threads_.try_emplace(thread);
  Seen& seen = at->second;
  seen.round = round_;
  if (is_new || seen.letter == 'R' || !(seen.last == *stat)) {
    const Result<ThreadStat> more = read_thread_stat(thread);
    if (!more) return;
    names_[thread] = more->name;
    // The first look has nothing to compare with, and says nothing.
    if (!is_new) {
      const Duration on_cpu = stat->times.on_cpu - seen.last.times.on_cpu;
      const Duration runnable = stat->times.queued - seen.last.times.queued;
      const RunState state =
          run_state(seen.letter, more->state, now - seen.looked, on_cpu, runnable);
      add(seen, {thread, state, seen.looked, now, on_cpu, runnable});
    }
    seen.letter = more->state;
  } else {
    // Not a nanosecond on a processor. Where it waits (for a disk, perhaps) was seen when it began
    // to.
    const bool waits = seen.open && seen.open->state != RunState::kRunning &&
                       seen.open->state != RunState::kRunnable;
    add(seen, {thread, waits ? seen.open->state : RunState::kSleeping, seen.looked, now});
  }
  seen.last = *stat;
  seen.looked = now;
}

// Looks that found the same make one slice.
void RunStates::add(Seen& seen, const RunSlice& slice) {
  if (seen.open && seen.open->state == slice.state) {
    seen.open->end = slice.end;
    seen.open->on_cpu += slice.on_cpu;
    seen.open->runnable += slice.runnable;
    return;
  }
  close(seen);
  seen.open = slice;
}

void RunStates::close(Seen& seen) {
  if (!seen.open) return;
  const RunSlice slice = *std::exchange(seen.open, std::nullopt);
  if (slices_.size() < slices_max_) {
    slices_.push_back(slice);
  } else {
    ++dropped_;
  }
}

void RunStates::end(MonotonicTime now) {
  // A last look, so that the slices reach to the end; what it cannot read ends at the one before.
  (void)look(now);
  for (auto& [thread, seen] : threads_) close(seen);
}

}  // namespace vigil::sampler
