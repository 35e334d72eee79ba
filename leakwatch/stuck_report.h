// What the watchdog says about tasks that are stuck: one report for all that hang at the same place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/task_request.h"

namespace vigil::leakwatch {

enum class EpisodeState : std::uint8_t {
  kStuck,      // -> kRecovered when the last of its tasks has ended
  kRecovered,  // final
};

std::string_view episode_state_name(EpisodeState state);

// Whether a stuck task moves: what the later looks at it have seen.
struct Movement {
  int looks = 0;         // after the first
  int changes = 0;       // of these, with other frames than the look before
  Duration watched{0};   // from the first look to the last
  Duration same_for{0};  // from when its frames changed last, to the last look
  // Of its thread in that time; nothing where the kernel does not tell.
  std::optional<Duration> cpu;
  std::optional<Duration> queued;  // runnable without a processor

  friend bool operator==(const Movement&, const Movement&) = default;
};

// "same frames for 40s, blocked", "progressing (frames changed in 3 of 5 looks), spinning (used 3.9s
// of CPU in 4s)", "…, runnable without a CPU (for 2s of 4s)"; empty before the second look. Pure.
std::string movement_text(const Movement& movement);

// Who holds what a stuck task waits for.
struct Holder {
  std::optional<TaskInfo> task;  // the innermost one of its thread
  LiveStack stack;
};

struct StuckReport {
  static constexpr std::size_t kMembersMax = 10;

  std::uint64_t number = 0;  // 1, 2, 3 … in the order of flagging
  // The task that it was first seen with, or if that has ended, another that is still stuck there.
  TaskInfo task;
  std::optional<RequestInfo> request;  // what that task works on, if it has said so
  EpisodeState state = EpisodeState::kStuck;
  bool leaked = false;    // a task of it went on beyond its own timeout, TaskInfo::timeout()
  bool stalled = false;   // it streams, and had made no progress for TaskInfo::stalled_after
  bool draining = false;  // the server is shutting down
  WallTime flagged_at{};
  Duration age_when_flagged{};
  Duration limit{};    // the threshold that `task` had passed
  unsigned level = 0;  // reported last at limit * 2^level
  // kRecovered: how old the task was when it ended, or a stalled one when it moved again, up to one
  // interval too much; else zero.
  Duration total_age{};
  LiveStack stack;  // when flagged
  std::uint64_t fingerprint = 0;
  Movement movement;
  std::optional<Holder> holder;

  std::uint64_t tasks = 0;        // flagged with this stack
  std::uint64_t stuck_now = 0;    // of these, not over yet
  std::vector<TaskInfo> members;  // the first kMembersMax of them, `task` included

  bool abandoned() const { return request && request->client_gone; }
};

// Equal for stacks with the same frames. A stack that could not be walked counts as its task's
// label, so that unrelated ones are not thrown together. Pure.
std::uint64_t stack_fingerprint(const LiveStack& stack, std::string_view label);

// One line for a thread and what it works on: "thread 4711 vigil-work-3 in task 12 GET /orders/{id}".
std::string thread_title(const LiveStack& stack, const std::optional<TaskInfo>& task);

}  // namespace vigil::leakwatch
