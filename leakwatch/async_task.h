// AsyncTask: a unit of work that is bound to no thread. It runs now on one, now on another, and on
// none while it waits for a callback, a timer or another coroutine.
//
//   AsyncTask task(registry, label, {.now = clock.now()});
//   task.enter();                // this thread works for it, from here
//   …
//   task.leave(&place);          // and no more: it waits at `place`
//   …                            // enter() on whichever thread goes on
//
// It is in the registry from construction to destruction, waiting or not: the watchdog flags it, and
// dumps show where it waits instead of a thread's stack. leakwatch/coroutine.h does all of this for
// coroutines; this header is for whoever adapts another library, as adapters/grpc.h does.
//
// One thread at a time may be in it, and what one has done before leave() must happen before the
// next enter(): an executor that hands work on sees to that. enter() and leave() nest like Tasks on
// their thread, and come in pairs there.
//
// Cost: a Task's to begin and end; some ten loads and stores for each enter() and leave().
#pragma once

#include <string>
#include <vector>

#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"
#include "sampler/stack_profile.h"

namespace vigil::leakwatch {

// Where a task waits: one function that waits, and who waits for that one in turn. The task lends
// it, as a TaskRequest: it must not change or end while the task waits at it. Readers copy it
// fault-safely.
struct AwaitFrame {
  const AwaitFrame* caller = nullptr;  // who awaits this function; null: nobody
  const char* function = "";           // as source_location::function_name() has it
  const char* file = "";
  std::uint32_t line = 0;  // of the co_await
};

class AsyncTask {
 public:
  // `start.parent` kNone: the calling thread's task.
  AsyncTask(TaskRegistry& registry, TaskLabel label, const TaskStart& start);
  // On any thread, when none is in it.
  ~AsyncTask();
  AsyncTask(const AsyncTask&) = delete;
  AsyncTask& operator=(const AsyncTask&) = delete;

  // kNone when the registry was full: then nothing here has an effect, but for the thread's labels.
  TaskId id() const { return claim_.id; }

  void enter();
  // `place`: where it waits; null: nothing is known.
  void leave(const AwaitFrame* place = nullptr);

 private:
  TaskRegistry& registry_;
  const TaskLabel label_;
  const MonotonicTime started_;
  ScopeId scope_ = ScopeId::kNone;
  TaskRegistry::Claim claim_;
  // Of the thread that is in it: what it was at before.
  TaskRegistry::Current outer_;
  ScopeId outer_scope_ = ScopeId::kNone;
  sampler::OuterWork outer_work_;
};

// Where a task waits that is on no thread, as if that were a stack: innermost function first, state
// "await"; the addresses, in `raw` too, are FrameAddress::place(). Has a failure, a sentence, if the
// task has moved meanwhile, has ended, or has not said where it waits. Thread-safe. Cost: three system calls a frame, at most kAwaitFramesMax of them.
inline constexpr std::size_t kAwaitFramesMax = 64;
LiveStack await_stack(const TaskRegistry& registry, const TaskInfo& task);

// Tells `profile` the names of the places in `stack`, if it is one of await_stack(): its samples
// have addresses alone. Pure.
void name_places(const LiveStack& stack, sampler::StackProfile& profile);

}  // namespace vigil::leakwatch
