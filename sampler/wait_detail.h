// What exactly a captured thread waits for: which mutex and who holds it, which socket and its peer.
//
//   const WaitDetail wait = wait_detail(thread, frames);   // right behind the capture
//   wait.text     "mutex 0x5581… held by thread 4711", "read from socket 12, peer 10.0.0.7:5432"
//
// wait_reason.h names the kind of a wait in Go's words, from the system call alone. Here the frames
// tell what a futex stands for, and the memory behind it who holds it: glibc writes the owner's
// thread id into a locked mutex (pthread_mutex_t::__data.__owner) and into a lock that a writer
// holds (pthread_rwlock_t::__data.__cur_writer). Both layouts are part of glibc's ABI on x86-64,
// because the initializers in <pthread.h> write them. Memory is read fault-safely
// (memory_reader.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "sampler/proc_thread.h"
#include "sampler/stack_text.h"
#include "sampler/thread_snapshot.h"

namespace vigil::sampler {

enum class WaitKind : std::uint8_t {
  kNothing,            // it runs, or waits for a processor
  kMutex,              // has an owner
  kReadWriteLock,      // has an owner if a writer holds it
  kConditionVariable,  // anybody may wake it
  kSemaphore,
  kJoin,     // the owner is the thread whose end is awaited
  kOnce,     // another thread's one-time initialization
  kBarrier,  // pthread_barrier_wait
  kFutex,    // some other use of a futex
  kSleep,
  kSocketRead,
  kSocketWrite,
  kFileRead,
  kFileWrite,
  kAccept,
  kConnect,
  kPoll,
  kPageFault,
  kStopped,
  kOther,
};

// "mutex", "condition variable", "socket read", …; "nothing" for kNothing. Constant text.
std::string_view wait_kind_name(WaitKind kind);

struct WaitDetail {
  WaitKind kind = WaitKind::kNothing;
  std::uintptr_t object = 0;  // the lock's address; 0 for what is none
  // Who must act first: a lock's owner, the thread that is joined. 0: not known, or nobody in
  // particular.
  pid_t owner = 0;
  int descriptor = -1;
  std::string text;  // one phrase for people; empty for kNothing
};

// Of a thread as it was captured; `frames` are its stack's. Descriptors are looked up now: a thread
// that has moved on since makes the answer stale, never unsafe; how long it sleeps and what it polls
// are left out then. Thread-safe. Cost: some 10 us.
WaitDetail wait_detail(const ThreadStack& thread, std::span<const TextFrame> frames);

// What a futex wait stands for, from the function that waits; kFutex if none of the innermost
// frames tells. Names may carry leading underscores and a version. Pure.
WaitKind futex_kind(std::span<const TextFrame> frames);

// Who a thread in `call` waits for.
struct LockWait {
  WaitKind kind = WaitKind::kMutex;
  std::uintptr_t object = 0;
  pid_t owner = 0;
};

// The mutex, or the end of a thread, that the call waits for, seen from the futex alone: a wait of
// the kind that glibc's mutexes and its pthread_join use, on memory that looks like a locked mutex
// with an owner, or holds the id of a live thread. A wait that has a timeout is none, because it
// ends by itself. For a first look at many threads; the frames tell for sure. Cost: a system call
// or two. Thread-safe.
std::optional<LockWait> lock_wait(const ThreadSyscall& call);

// What a thread has used so far; nothing if it is gone, or the kernel does not count.
std::optional<ThreadTimes> read_thread_times(pid_t tid);

}  // namespace vigil::sampler
