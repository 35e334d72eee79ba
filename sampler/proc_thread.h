// What the kernel says about a thread of this process: the files of /proc/self/task/TID (proc(5)).
//
//   auto witness = read_run_witness(tid);      // has it run since?
//   auto call = read_thread_syscall(tid);      // where is it blocked?
//
// Parsers are pure and take the file's text; readers open, read at most kProcFileBytesMax bytes,
// and parse. A thread that is gone gives not_found (ENOENT and ESRCH alike).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace vigil::sampler {

// Longer files are cut: status has about 1.5 KB, the others less than 500 bytes.
inline constexpr std::size_t kProcFileBytesMax = 4096;

// A descriptor of /proc/self/task, for one pass over many threads: a file below it opens in 1.7 to
// 2.4 us, by its whole path in 1.9 to 3.8. Not to be kept across a fork. Where it cannot be opened,
// or takes one of the last descriptors, which the files need, readers take the whole path.
class TaskDirectory {
 public:
  TaskDirectory();
  // The file of that thread, for reading; empty, with errno, if there is none.
  UniqueFd open(pid_t tid, const char* file) const;

 private:
  UniqueFd fd_;
};

// `syscall`: where a thread that is not running is.
struct ThreadSyscall {
  enum class Kind : std::uint8_t {
    kRunning,  // on a processor or waiting for one: the kernel knows no more ("running")
    kBlocked,  // in system call `number`
    kStopped,  // blocked outside a system call: a page fault, a stop signal ("-1 SP PC")
  };
  Kind kind = Kind::kRunning;
  std::int64_t number = -1;
  std::array<std::uint64_t, 6> args{};
  std::uintptr_t sp = 0;  // user space's, 0 when running
  std::uintptr_t pc = 0;

  friend bool operator==(const ThreadSyscall&, const ThreadSyscall&) = default;
};
std::optional<ThreadSyscall> parse_thread_syscall(std::string_view text);
Result<ThreadSyscall> read_thread_syscall(pid_t tid, const TaskDirectory* directory = nullptr);

// `stat`: the fields that we use. The name may contain anything, ") (" included.
struct ThreadStat {
  std::string name;  // at most 15 bytes
  char state = '?';  // R S D T t Z X I, proc(5)
  std::uint64_t start_ticks =
      0;  // since boot: with the id it names a thread uniquely, ids are reused

  friend bool operator==(const ThreadStat&, const ThreadStat&) = default;
};
std::optional<ThreadStat> parse_thread_stat(std::string_view text);
Result<ThreadStat> read_thread_stat(pid_t tid, const TaskDirectory* directory = nullptr);

// `status`: signal mask, context switches, system calls allowed.
struct ThreadStatus {
  // SECCOMP_MODE_STRICT: read, write, exit and sigreturn. A signal's handler that calls anything else ends the thread.
  enum class Calls : std::uint8_t { kAny, kStrict };

  std::uint64_t signals_blocked = 0;  // bit N-1 for signal N
  std::uint64_t switches = 0;         // voluntary and involuntary
  Calls calls = Calls::kAny;

  // Whether our handler can run in it.
  bool takes(int signal) const { return !blocks(signal) && calls == Calls::kAny; }
  bool blocks(int signal) const { return ((signals_blocked >> (signal - 1)) & 1u) != 0; }
  friend bool operator==(const ThreadStatus&, const ThreadStatus&) = default;
};
std::optional<ThreadStatus> parse_thread_status(std::string_view text);
Result<ThreadStatus> read_thread_status(pid_t tid);

// What a thread has used so far.
struct ThreadTimes {
  Duration on_cpu{};
  Duration queued{};  // runnable, but without a processor
  friend bool operator==(const ThreadTimes&, const ThreadTimes&) = default;
};

// `schedstat`: its times, and how often it was put on a processor.
struct SchedStat {
  ThreadTimes times;
  std::uint64_t runs = 0;

  // Kernels without CONFIG_SCHED_INFO write zeros; a thread that exists has run at least once.
  bool is_counted() const { return runs != 0; }
  friend bool operator==(const SchedStat&, const SchedStat&) = default;
};
// Empty if the text is not three numbers from 0. Pure.
std::optional<SchedStat> parse_schedstat(std::string_view text);
Result<SchedStat> read_schedstat(pid_t tid);

// A number that changes whenever the thread has been put on a processor: schedstat's run count,
// else status' context switches. Two equal values around a read mean that a thread that was blocked
// stayed blocked all the time between.
Result<std::uint64_t> read_run_witness(pid_t tid);

// The same witness of one thread, to be read again: the file stays open, so that the second read
// costs 0.3 us. Not thread-safe.
class RunWitness {
 public:
  // `directory`, if any, must outlive it.
  explicit RunWitness(pid_t tid, const TaskDirectory* directory = nullptr)
      : tid_(tid), directory_(directory) {}

  // As read_run_witness().
  Result<std::uint64_t> read();
  // Of the last read; nothing where the kernel does not count.
  std::optional<ThreadTimes> times() const { return times_; }

 private:
  pid_t tid_;
  const TaskDirectory* directory_;
  UniqueFd file_;
  std::optional<ThreadTimes> times_;
};

// `comm`, without its newline.
Result<std::string> read_thread_name(pid_t tid);

// `wchan`: the kernel function in which it waits; empty where the kernel hides it or it runs.
std::string parse_wait_channel(std::string_view text);
Result<std::string> read_wait_channel(pid_t tid);

// The ids of all threads of this process, ascending. Not atomic: threads that start or end
// meanwhile may be missing or gone.
Result<std::vector<pid_t>> list_threads();

}  // namespace vigil::sampler
