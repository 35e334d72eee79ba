// Tasks: what a server is doing right now, one entry a handler activation.
//
//   TaskRegistry registry({}, clock);
//   const TaskLabel label = registry.intern("GET /orders/{id}");   // once, when the route is
//   registered
//   ...
//   Task task(registry, label);          // at the start of the work, on its thread
//   ...                                  // the scope's end is the task's end
//
// The watchdog, the task dump, the profiler's labels, shutdown reports and the leak check all read
// this one table.
//
// Model. A fixed table of slots, each on a cache line of its own. A slot's `sequence` says what it
// holds:
//
//      4g      free, in a list or never used   ── begin: taken from the list ──▶ 4g+1
//      4g+1    being written                   ── fields stored ──▶ 4g+2
//      4g+2    live, generation g              ── end: one store ──▶ 4g+7, or 4g+4 and into a list
//      4g+3    spare: free too, in no list     ── begin: one compare and exchange ──▶ 4g+1
//
// A thread keeps the slot of a task that has ended as its spare, and its next task takes that: one
// locked instruction for both, which are 9 ns each here, where a list takes two. A spare is the
// thread's by habit only: when the lists are empty, whoever needs a slot puts all spares back into
// them, also those of threads that are no more.
//
// A reader takes the sequence, the fields, and the sequence again, and believes the fields only if
// it was live and did not move. Every field is an atomic: stored with release, so that a reader who
// sees a field of a later generation also sees that generation's sequence; loaded with acquire. (A
// sequence lock over plain data is U7; fences are not modelled by g++'s ThreadSanitizer.) Free
// slots are linked in several lists, one a cache line; a thread prefers the list that its number
// gives, so threads do not meet on it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "leakwatch/scope.h"
#include "leakwatch/task_request.h"
#include "sampler/thread_work.h"

namespace vigil::leakwatch {

// Names one activation for the life of the registry; 0 is "none". Printed as a decimal number.
enum class TaskId : std::uint64_t { kNone = 0 };

// What a task is called: usually its route. Made by TaskRegistry::intern(); cheap to copy; valid for
// the life of the process.
class TaskLabel {
 public:
  TaskLabel() = default;
  std::string_view text() const { return name_ == nullptr ? std::string_view() : name_->text; }

 private:
  friend class TaskRegistry;
  friend class Task;
  friend class AsyncTask;
  explicit TaskLabel(const sampler::WorkName* name) : name_(name) {}
  const sampler::WorkName* name_ = nullptr;
};

// A live task as a reader saw it.
struct TaskInfo {
  TaskId id = TaskId::kNone;
  TaskId parent = TaskId::kNone;  // on whose behalf it runs: as a rule the one it is nested in
  std::string_view label;         // valid for the life of the process
  // The kernel's id of the thread that runs it; 0: none does now, it waits (AsyncTask).
  pid_t thread = 0;
  std::uint32_t moves = 0;  // of an AsyncTask: how often it has come to a thread or left one
  MonotonicTime started{};
  // When whoever waits for the task gives it up; kNoDeadline if nobody does.
  MonotonicTime gives_up_at = kNoDeadline;
  // A streaming task (Task::stream): how long it may go on without progress. Zero: it is none.
  Duration stalled_after{0};
  // Of a streaming task: when it made progress last; kNoDeadline while it waits for its peer.
  MonotonicTime progressed_at{};
  ScopeId scope =
      ScopeId::kNone;  // on whose behalf, for the leak check: the parent's, or the thread's
  // The task's own threshold for the watchdog (Task::allow); zero: its route's, or the watchdog's.
  Duration stuck_after{0};

  // On no thread: await_stack() has where it waits.
  bool waiting() const { return thread == 0; }
  bool streaming() const { return stalled_after != Duration::zero(); }
  // Only if streaming(); zero while it waits for its peer.
  Duration without_progress(MonotonicTime now) const {
    return progressed_at >= now ? Duration::zero() : now - progressed_at;
  }
  Duration age(MonotonicTime now) const { return now - started; }
  bool has_timeout() const { return gives_up_at != kNoDeadline; }
  // How long it was given; only if has_timeout().
  Duration timeout() const { return gives_up_at - started; }
};

// The order of TaskRegistry::snapshot().
bool is_older(const TaskInfo& a, const TaskInfo& b);
// The youngest of `tasks`, in any order, that is on `thread`: the one that the others contain.
std::optional<TaskInfo> innermost_task(std::span<const TaskInfo> tasks, pid_t thread);

// What a task may be given beyond its label.
struct TaskStart {
  MonotonicTime now{};  // the clock, just read
  // The task on whose behalf it runs, if that is on another thread; kNone: the calling thread's.
  TaskId parent = TaskId::kNone;
  // Live after this, it has leaked past its timeout, and the watchdog says so (watchdog.h).
  MonotonicTime gives_up_at = kNoDeadline;
  // What it works on, for reports; null: nothing is known. Must live as long as the task.
  const TaskRequest* request = nullptr;
};

// Called by the thread that has just begun a task, with its id; null: nobody is interested. For
// vigil::creation_stacks, which remembers where tasks were begun. Costs a load when null.
using TaskBegunHook = void (*)(TaskId id) noexcept;
void set_task_begun_hook(TaskBegunHook hook) noexcept;
TaskBegunHook task_begun_hook() noexcept;

struct TaskRegistryOptions {
  // Tasks alive at once, 1 to 2^20, rounded up to a multiple of the number of free lists (16). What
  // does not fit runs untracked and is counted in `untracked`. 64 bytes each, touched only when
  // used.
  std::size_t tasks_max = 16'384;
};

// Knows which tasks have lost their client, where no socket says so: an RPC library's calls share
// one. For adapters.
class ClientWatch {
 public:
  // Whether the client of `task`, of the registry that this was added to, is gone. Called by whoever
  // reports about the task, on any thread, with a lock of the registry's held: it must not wait for
  // others, and not add or remove watches.
  virtual bool client_is_gone(TaskId task) = 0;

 protected:
  ~ClientWatch() = default;
};

class TaskProgress;
struct AwaitFrame;

// Thread-safe. begin and end take no lock, allocate nothing and cost about 20 ns together; reading
// never delays a writer.
class TaskRegistry {
 public:
  explicit TaskRegistry(Clock& clock, TaskRegistryOptions options = {});
  ~TaskRegistry();
  TaskRegistry(const TaskRegistry&) = delete;
  TaskRegistry& operator=(const TaskRegistry&) = delete;

  // The label for `text`; the same text gives the same label. Takes a lock and may allocate, and
  // what it allocates is never freed: for start-up, or for a bounded set of names. Never for text
  // that a client chooses.
  TaskLabel intern(std::string_view text);

  // All live tasks, oldest first. A task that begins or ends meanwhile may or may not be in it;
  // none is torn. Cost: about 2 us for each hundred slots that were ever in use, and some 6 us for
  // each hundred live tasks to sort them.
  std::vector<TaskInfo> snapshot() const;
  // The same in no order, into a vector that is used again and again.
  void snapshot_unsorted(std::vector<TaskInfo>& into) const;

  // The task if it is still alive.
  std::optional<TaskInfo> find(TaskId id) const;
  // What the task works on, if it is still alive and has said so (TaskStart::request), or if the task
  // that it runs for has, and so on upwards. Reads the task's memory fault-safely; what the task
  // ended under is not believed. Cost: a few microseconds.
  std::optional<RequestInfo> request_of(TaskId id) const;
  // `watch` is asked by request_of() until it is removed, which waits for calls of it that run. Both
  // take a lock.
  void add_client_watch(ClientWatch& watch);
  void remove_client_watch(ClientWatch& watch);
  // Where the task waits, as it was when `task` was read; null if it is on a thread, has moved since
  // or has not said. Lent by the task: await_stack() (async_task.h) copies it as it must be.
  const AwaitFrame* waits_at(const TaskInfo& task) const;
  bool is_live(TaskId id) const { return find(id).has_value(); }

  struct Counters {
    std::uint64_t started = 0;    // tasks begun, tracked ones only
    std::uint64_t live = 0;       // of these, not ended yet
    std::uint64_t untracked = 0;  // begun while the table was full
  };
  Counters counters() const;

  Clock& clock() const { return clock_; }

 private:
  friend class Task;
  friend class AsyncTask;
  friend class TaskProgress;

  static constexpr std::uint32_t kLists = 16;
  static constexpr std::uint32_t kNoSlot = 0xFFFF'FFFF;

  struct Slot;
  struct Extra;
  struct FreeList;

  // What begin() gives and end() takes back.
  struct Claim {
    std::uint32_t slot = kNoSlot;
    TaskId id = TaskId::kNone;
  };

  // A thread's innermost task; `registry` is null outside any.
  struct Current {
    TaskRegistry* registry = nullptr;
    Claim claim;
  };
  static thread_local constinit Current current_;

  // The slot that the thread's next task tries first. Its own registry's `serial_` is compared, not
  // its address: a registry may be gone.
  struct Spare {
    std::uint32_t registry = 0;  // 0: there is none
    std::uint32_t slot = kNoSlot;
    std::uint64_t sequence = 0;  // as it was left: any other, and somebody has taken the slot
  };
  static thread_local constinit Spare spare_;

  // Makes the claim's task a streaming one; the handle does nothing if the task has ended.
  TaskProgress mark_streaming(Claim claim, Duration stalled_after);
  void describe(Claim claim, const TaskRequest& request);
  void mark_allowed(Claim claim, Duration stuck_after);
  // The claim's extra entry, made this task's; null if the task has ended.
  Extra* extra_of(Claim claim);
  void mark_progress(std::uint32_t slot, std::uint64_t sequence, MonotonicTime at);
  // On whose behalf a task begins on the calling thread: for `parent`, or, where that is kNone, for
  // the thread's own task.
  struct Origin {
    TaskId parent = TaskId::kNone;
    ScopeId scope = ScopeId::kNone;
  };
  Origin origin_of(TaskId parent) const;
  // A task that begins on `thread`; 0: on none. What `start` says of its parent is in `origin`.
  Claim begin(TaskLabel label, const TaskStart& start, Origin origin, pid_t thread);
  // Of an AsyncTask: it is on the calling thread, or waits at `place`.
  void mark_entered(Claim claim);
  void mark_left(Claim claim, const AwaitFrame* place);
  void end(Claim claim);

  struct Claimed {
    std::uint32_t slot = kNoSlot;
    std::uint64_t sequence = 0;
  };
  Claimed claim_slot(MonotonicTime now);
  // Puts every spare into its list; whether there was one.
  bool reclaim_spares(MonotonicTime now);
  std::uint32_t pop_free(std::uint32_t preferred_list);
  std::uint32_t pop_free_from(FreeList& list);
  void push_free(std::uint32_t slot);
  std::optional<TaskInfo> read(std::uint32_t slot) const;
  // Calls `use(slot)` for each slot that was ever in use.
  template <typename Use>
  void for_each_used(Use&& use) const;
  bool is_watched_as_gone(TaskId id) const;
  TaskId id_of(std::uint32_t slot, std::uint64_t generation) const;
  std::uint32_t slot_of(TaskId id) const;

  Clock& clock_;
  const std::uint32_t serial_;
  const std::uint32_t slots_per_list_;
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<Extra[]> extras_;  // one for each slot
  std::unique_ptr<FreeList[]> lists_;
  std::atomic<std::uint64_t> untracked_{0};
  mutable std::mutex watches_mutex_;
  std::vector<ClientWatch*> watches_;  // guarded by watches_mutex_
  // When a search for spares found none; in the far future if each has found some.
  std::atomic<std::int64_t> no_spares_at_ns_{std::numeric_limits<std::int64_t>::max()};
};

// By which a streaming task says that it moves. Cheap to copy. Thread-safe: any thread that works for
// the task may use it, also after the task's end (it then does nothing), but not after the
// registry's. Cost: a load and a store; made() without a time reads the clock.
//
// A call that races the end of its task may, once in a blue moon, count for the task that takes its
// slot: that one may then be flagged as stalled too late, never too early.
class TaskProgress {
 public:
  // Of no task: does nothing.
  TaskProgress() = default;

  // Something has been done: the time until the task counts as stalled begins anew.
  void made() const;
  // For a caller that has just read the registry's clock.
  void made(MonotonicTime now) const;
  // The task waits for its peer's next move, which may take for ever: it does not count as stalled
  // until made() has been called again.
  void waits() const;

 private:
  friend class TaskRegistry;
  TaskProgress(TaskRegistry& registry, std::uint32_t slot, std::uint64_t sequence)
      : registry_(&registry), slot_(slot), sequence_(sequence) {}

  TaskRegistry* registry_ = nullptr;
  std::uint32_t slot_ = 0;
  std::uint64_t sequence_ = 0;
};

// One unit of work on the calling thread, from construction to destruction. Ends on the thread that
// began it; tasks of one thread nest. Must not outlive the registry.
class Task {
 public:
  Task(TaskRegistry& registry, TaskLabel label) : Task(registry, label, registry.clock().now()) {}
  // For a caller that has just read the clock.
  Task(TaskRegistry& registry, TaskLabel label, MonotonicTime now)
      : Task(registry, label, TaskStart{.now = now}) {}
  Task(TaskRegistry& registry, TaskLabel label, const TaskStart& start);
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  // kNone when the registry was full.
  TaskId id() const { return claim_.id; }

  // The innermost task of the calling thread, kNone outside any.
  static TaskId current();

  // Marks the innermost task of the calling thread as streaming: a handler that lives as long as
  // its client, such as an event stream, a long poll or a WebSocket. The watchdog then does not ask
  // how old it is, but flags it when it has made no progress for `stalled_after` (from now on; at
  // least 1 ms, in whole milliseconds), and says so when it moves again. Nothing is marked by
  // guesswork: neither by a flush nor by a chunked response. A second call changes the threshold.
  //
  //   const TaskProgress progress = Task::stream(30s);
  //   while (…) { if (!response.write(event) || !response.flush()) return; progress.made(); }
  //
  // Outside any task: a handle that does nothing.
  static TaskProgress stream(Duration stalled_after);

  // Gives the innermost task of the calling thread a threshold of its own: the watchdog flags it
  // when it gets older than `stuck_after` (at least 1 ms, in whole milliseconds), whatever its
  // route's threshold is. For a handler that finds out that it has a long job before it. Does
  // nothing outside any task. Streaming tasks keep their own rule.
  static void allow(Duration stuck_after);

 private:
  // Tells a trace that is being recorded of the whole task.
  void trace_end() const;

  TaskRegistry& registry_;
  TaskRegistry::Current outer_;
  ScopeId outer_scope_;
  TaskRegistry::Claim claim_;
  sampler::OuterWork outer_work_;
};

}  // namespace vigil::leakwatch
