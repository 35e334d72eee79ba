#include "sampler/trace/run_states.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "sampler/proc_file.h"
#include "sampler/proc_thread.h"

namespace vigil::sampler {
namespace {

template <typename Number>
bool take_number(std::string_view& text, Number& into) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::optional<SchedStat> read_schedstat(pid_t thread) {
  const std::string path = fmt::format("/proc/self/task/{}/schedstat", thread);
  const Result<std::string> text = read_proc_file(path.c_str(), 256);
  return text ? parse_schedstat(*text) : std::nullopt;
}

}  // namespace

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

std::optional<SchedStat> parse_schedstat(std::string_view text) {
  SchedStat stat;
  if (!take_number(text, stat.on_cpu_ns) || !take_number(text, stat.runnable_ns) ||
      !take_number(text, stat.runs)) {
    return std::nullopt;
  }
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (!text.empty()) return std::nullopt;
  return stat;
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
  const std::optional<SchedStat> stat = read_schedstat(thread);
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
      const Duration on_cpu(stat->on_cpu_ns - seen.last.on_cpu_ns);
      const Duration runnable(stat->runnable_ns - seen.last.runnable_ns);
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
