#include "leakwatch/stuck_report.h"

#include <functional>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  constexpr std::uint64_t kFnvPrime = 0x100000001b3;
  return (hash ^ value) * kFnvPrime;
}

// More than half of the time in one state is that state.
bool is_most(const std::optional<Duration>& part, Duration whole) {
  return part && *part * 2 >= whole;
}

}  // namespace

std::string_view episode_state_name(EpisodeState state) {
  return state == EpisodeState::kStuck ? "stuck" : "recovered";
}

std::string movement_text(const Movement& movement) {
  if (movement.looks == 0) return "";
  std::string text = movement.changes == 0
                         ? "same frames for " + format_duration(movement.same_for)
                         : fmt::format("progressing (frames changed in {} of {} looks)",
                                       movement.changes, movement.looks);
  if (!movement.cpu || movement.watched == Duration::zero()) return text;
  if (is_most(movement.cpu, movement.watched)) {
    return text + fmt::format(", spinning (used {} of CPU in {})", format_duration(*movement.cpu),
                              format_duration(movement.watched));
  }
  if (is_most(movement.queued, movement.watched)) {
    return text + fmt::format(", runnable without a CPU (for {} of {})",
                              format_duration(*movement.queued), format_duration(movement.watched));
  }
  return text + ", blocked";
}

std::uint64_t stack_fingerprint(const LiveStack& stack, std::string_view label) {
  constexpr std::uint64_t kFnvOffset = 0xcbf29ce484222325;
  std::uint64_t hash = kFnvOffset;
  if (stack.frames.empty()) return mixed(hash, std::hash<std::string_view>()(label));
  for (const sampler::TextFrame& frame : stack.frames) hash = mixed(hash, frame.address);
  return hash;
}

std::string thread_title(const LiveStack& stack, const std::optional<TaskInfo>& task) {
  std::string title = fmt::format("thread {} {}", stack.thread, valid_utf8(stack.thread_name));
  if (task) {
    fmt::format_to(std::back_inserter(title), " in task {} {}",
                   static_cast<std::uint64_t>(task->id), valid_utf8(task->label));
  }
  return title;
}

}  // namespace vigil::leakwatch
