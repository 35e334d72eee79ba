// Calls that fail, do less than asked, or are interrupted: a shared library that stands between the program (with all its
// libraries) and the C library. Link `vigil_test_faults`, or preload it.
//
//   for (std::uint64_t n = 1;; ++n) {
//     const FaultAt fault({"recv: EINTR", Call::kRecv, EINTR}, n);   // the n-th recv of whatever thread
//     use_the_server();                                              // its clients under `const Unharmed us;`
//     if (fault.calls() < n) break;                                  // all of them had their turn
//   }
//
// One plan at a time. Thread-safe; the functions that are called instead allocate nothing and take no lock.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace vigil::test {

// What can fail. kMalloc: malloc, calloc, realloc and aligned_alloc with its relatives, and so operator new. kOpen: openat
// and open64 too.
enum class Call : std::uint8_t {
  kSocket,
  kBind,
  kListen,
  kAccept,
  kRecv,
  kSend,  // sendmsg too
  kSetsockopt,
  kGetsockopt,
  kFcntl,
  kEpollCreate,
  kEpollCtl,
  kEpollWait,
  kEventfd,
  kPoll,
  kOpen,
  kOpendir,
  kRead,
  kWrite,
  kMmap,
  kTimerCreate,
  kPthreadCreate,
  kMalloc,
};

// What becomes of a call.
struct CallOutcome {
  int error = 0;  // not 0: it does nothing, and fails with this
  // Of recv, send, sendmsg, read and write: no more than this many.
  std::size_t bytes_max = static_cast<std::size_t>(-1);
};

// Asked at every call, on the calling thread, with errno as the program has it. Must not call what it decides about.
using FaultPlan = CallOutcome (*)(Call call);

// Calls go by `plan` while it lives, on all threads that are not Unharmed.
class WithFaults {
 public:
  explicit WithFaults(FaultPlan plan);
  ~WithFaults();
  WithFaults(const WithFaults&) = delete;
  WithFaults& operator=(const WithFaults&) = delete;
};

// The calling thread's calls go as ever while it lives: the test's own. Nests.
class Unharmed {
 public:
  Unharmed();
  ~Unharmed();
  Unharmed(const Unharmed&) = delete;
  Unharmed& operator=(const Unharmed&) = delete;
};

struct Fault {
  const char* name;  // for the reader of a failed test
  Call call;
  int error;                                            // 0: it is short
  std::size_t bytes_max = static_cast<std::size_t>(1);  // then
  std::uint64_t times = 1;                              // so many calls in a row
};

// The n-th call of that sort, and the next times - 1, are as `fault` says, counted from here over all threads that are
// not Unharmed; n from 1.
class FaultAt {
 public:
  FaultAt(const Fault& fault, std::uint64_t n);
  // Calls of that sort until now.
  std::uint64_t calls() const;

 private:
  WithFaults plan_;
};

// The n to try after `n`: each one to four times `part`, from there on steps of one in `part`, so that a run of ten thousand
// calls is some hundred and fifty runs.
inline std::uint64_t next_fault(std::uint64_t n, std::uint64_t part = 16) {
  return n + (n < 4 * part ? 1 : n / part);
}

}  // namespace vigil::test
