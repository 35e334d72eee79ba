#include "sampler/thread_snapshot.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/thread_id.h"
#include "sampler/memory_reader.h"
#include "sampler/own_capture.h"
#include "sampler/resting_threads.h"
#include "sampler/signal_capture.h"
#include "sampler/sigsafe/handler.h"
#include "sampler/wait_reason.h"

namespace vigil::sampler {
namespace {

// Enough for nearly every blocked thread; more is copied only where the walk ran out of it.
constexpr std::size_t kFirstCopyBytes = 8 * 1024;

// What reading a thread from outside came to.
enum class Look : std::uint8_t {
  kDone,         // a stack, or a failure that a signal would not mend
  kNeedsSignal,  // it runs, or its frames could not be followed without its registers
  kMoved,        // it ran while we read
};

// Whether a signal may go to a thread now.
enum class Permission : std::uint8_t {
  kWhenItRuns,  // it runs: by a signal that waits for that
  kNow,         // it is blocked in a call that the signal does not end
  kLater,       // our signal is masked, perhaps only because the thread is still in our handler
  kNo,          // settled without: a stack, or a failure
};

// A thread on its way to step 2.
struct Waiting {
  std::size_t index = 0;
  std::optional<MonotonicTime> masked_since;
  MonotonicTime next_look{};
};

// While a handler runs, its signal is masked, and a thread that has just answered may be preempted
// before it leaves the handler. So a mask counts as the program's own only after this long, and
// with no handler running anywhere.
constexpr std::chrono::milliseconds kMaskedFor{20};
constexpr std::chrono::milliseconds kMaskedLookEvery{5};

// What the kernel shows of them: in a system call, those of its arguments too. vfork(2) of glibc keeps
// its return address in one (rdi), because its child uses the same stack.
RegisterSet registers_of(const ThreadSyscall& call) {
  constexpr std::array kArguments = {Register::kRdi, Register::kRsi, Register::kRdx,
                                     Register::kR10, Register::kR8,  Register::kR9};
  static_assert(kArguments.size() == std::tuple_size_v<decltype(ThreadSyscall::args)>);
  RegisterSet registers;
  registers.set(Register::kRip, call.pc);
  registers.set(Register::kRsp, call.sp);
  if (call.kind != ThreadSyscall::Kind::kBlocked) return registers;
  for (std::size_t i = 0; i < kArguments.size(); ++i) registers.set(kArguments[i], call.args[i]);
  return registers;
}

// A copy of a blocked thread's stack from `sp` up, at most `bytes_max`.
StackCopy copy_stack(std::uintptr_t sp, std::size_t bytes_max, std::uintptr_t stack_end,
                     std::vector<std::byte>& buffer) {
  if (buffer.size() < bytes_max) buffer.resize(bytes_max);
  StackCopy copy;
  // Below a full stack's lowest frame is the guard page: then without the red zone.
  for (const std::size_t below : {kRedZoneBytes, std::size_t{0}}) {
    if (sp < below) continue;
    copy.base = sp - below;
    const std::size_t copied = read_memory_prefix(copy.base, std::span(buffer).first(bytes_max));
    copy.bytes = std::span(buffer).first(copied);
    if (copied != 0) break;
  }
  // Readable memory ended: so did the stack.
  copy.stack_end = copy.bytes.size() < bytes_max ? copy.end() : stack_end;
  return copy;
}

// Whether more frames could come from the thread's registers, which only a signal shows.
bool lacks_registers(const Stack& stack) {
  return stack.end == StackEnd::kBadMemory || stack.end == StackEnd::kNoUnwindInfo;
}

bool ignores_signal(const ThreadSyscall& call) {
  if (!survives_signal(call)) return false;
  const int fd = waiting_descriptor(call);
  return fd < 0 || descriptor_restarts(fd);
}

bool is_gone(const Error& error) { return error.code() == ErrorCode::kNotFound; }

}  // namespace

class StackCollector::Impl {
 public:
  Impl(const CollectorOptions& options, Clock& clock, Modules& modules, Unwinder& unwinder,
       SignalChannel& channel)
      : options_(options),
        modules_(modules),
        unwinder_(unwinder),
        clock_(clock),
        signals_(channel, clock),
        signal_number_(channel.signal_number()) {}

  std::vector<ThreadStack> capture(std::span<const pid_t> tids, MonotonicTime deadline,
                                   ModuleTables tables);
  std::uint64_t resting() const {
    const std::lock_guard lock(mutex_);
    return taken_over_;
  }

 private:
  // After describe(): true if the thread has not run since it was captured, and is as it was.
  bool take_resting(ThreadStack& thread);
  const TaskDirectory* directory() const { return directory_ ? &*directory_ : nullptr; }
  void capture_own(ThreadStack& thread);
  // Step 1 of the ladder, tried until it holds still; true if step 2 is to follow.
  bool look_repeatedly(ThreadStack& thread);
  Look look(ThreadStack& thread);
  Look look_blocked(ThreadStack& thread, RunWitness& witness, std::uint64_t before);
  // Name, state and wait channel; false if it is gone.
  bool describe(ThreadStack& thread);
  // Step 2, for all that need it.
  void signal_all(std::vector<ThreadStack>& threads, std::vector<Waiting> waiting,
                  MonotonicTime deadline);
  // Queues signals as far as slots go; what cannot be settled yet stays in `waiting`.
  void request_some(std::vector<ThreadStack>& threads, std::vector<Waiting>& waiting);
  Permission may_signal(ThreadStack& thread, Waiting& waiting);
  Permission found_masked(ThreadStack& thread, Waiting& waiting);
  void look_at_sleepers(std::vector<ThreadStack>& threads, std::vector<Waiting>& waiting);
  void take_answers(std::vector<ThreadStack>& threads);
  void fail(ThreadStack& thread, CaptureFailure failure);
  void read_channel(ThreadStack& thread);

  const CollectorOptions options_;
  Modules& modules_;
  Unwinder& unwinder_;
  Clock& clock_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  SignalCapture signals_;
  const int signal_number_;
  std::vector<std::byte> buffer_;
  std::uintptr_t main_stack_end_ = 0;
  std::optional<TaskDirectory> directory_;  // of one capture
  RestingThreads resting_;
  std::uint64_t taken_over_ = 0;
};

bool StackCollector::Impl::describe(ThreadStack& thread) {
  Result<ThreadStat> stat = read_thread_stat(thread.tid, directory());
  if (!stat) {
    thread.failure = is_gone(stat.error()) ? CaptureFailure::kGone : CaptureFailure::kProcHidden;
    return thread.failure != CaptureFailure::kGone;
  }
  thread.name = std::move(stat->name);
  thread.state = stat->state;
  return true;
}

void StackCollector::Impl::capture_own(ThreadStack& thread) {
  describe(thread);
  thread.failure = CaptureFailure::kNone;
  const OwnCapture own = capture_own_stack(options_.stack_bytes_max);
  thread.step = CaptureStep::kOwn;
  thread.pc = own.registers.pc();
  thread.sp = own.registers.sp();
  thread.bytes_copied = own.bytes.size();
  thread.stack = unwinder_.unwind(own.registers, own.stack, options_.frames_max);
  thread.work = own_work();
}

Look StackCollector::Impl::look_blocked(ThreadStack& thread, RunWitness& witness,
                                        std::uint64_t before) {
  const RegisterSet registers = registers_of(thread.call);
  thread.pc = thread.call.pc;
  thread.sp = thread.call.sp;
  const std::uintptr_t stack_end = thread.tid == getpid() ? main_stack_end_ : 0;
  std::size_t bytes_max = std::min(kFirstCopyBytes, options_.stack_bytes_max);
  while (true) {
    const StackCopy copy = copy_stack(thread.call.sp, bytes_max, stack_end, buffer_);
    thread.work = work_of_thread(thread.tid);
    const Result<std::uint64_t> after = witness.read();
    if (!after || *after != before) return Look::kMoved;
    thread.times = witness.times();
    thread.bytes_copied = copy.bytes.size();
    if (copy.bytes.empty()) {
      thread.failure = CaptureFailure::kUnreadable;
      return Look::kDone;
    }
    thread.stack = unwinder_.unwind(registers, copy, options_.frames_max);
    const bool ran_out = thread.stack.end == StackEnd::kTruncated &&
                         thread.stack.frames.size() < options_.frames_max &&
                         copy.bytes.size() == bytes_max;
    if (!ran_out || bytes_max == options_.stack_bytes_max) break;
    bytes_max = options_.stack_bytes_max;
  }
  thread.step = CaptureStep::kSignalFree;
  if (thread.state == 'D') read_channel(thread);
  if (!lacks_registers(thread.stack)) {
    if (thread.times) resting_.keep(thread, {before, *thread.times});
    return Look::kDone;
  }
  if (ignores_signal(thread.call)) return Look::kNeedsSignal;
  thread.failure = CaptureFailure::kNotInterrupted;
  return Look::kDone;
}

Look StackCollector::Impl::look(ThreadStack& thread) {
  const auto failed = [&](const Error& error) {
    thread.failure = is_gone(error) ? CaptureFailure::kGone : CaptureFailure::kProcHidden;
    return Look::kDone;
  };
  RunWitness witness(thread.tid, directory());
  const Result<std::uint64_t> before = witness.read();
  if (!before) return failed(before.error());
  const Result<ThreadSyscall> call = read_thread_syscall(thread.tid, directory());
  if (!call) return failed(call.error());
  thread.call = *call;
  if (call->kind == ThreadSyscall::Kind::kRunning) return Look::kNeedsSignal;
  if (thread.state == 'R') thread.state = 'S';  // it went to sleep since
  return look_blocked(thread, witness, *before);
}

bool StackCollector::Impl::take_resting(ThreadStack& thread) {
  // Woken, but without a processor so far: it has not run, and does not wait any more either.
  if (thread.state == 'R' || !resting_.knows(thread.tid)) return false;
  RunWitness witness(thread.tid, directory());
  const Result<std::uint64_t> runs = witness.read();
  if (!runs || !witness.times()) return false;
  const ThreadStack* const known = resting_.find(thread.tid, {*runs, *witness.times()});
  if (known == nullptr) return false;
  std::string name = std::move(thread.name);  // other threads may have changed it
  thread = *known;
  thread.name = std::move(name);
  thread.work = work_of_thread(thread.tid);
  ++taken_over_;
  return true;
}

bool StackCollector::Impl::look_repeatedly(ThreadStack& thread) {
  for (int attempt = 0; attempt < options_.attempts_max; ++attempt) {
    switch (look(thread)) {
      case Look::kDone:
        return false;
      case Look::kNeedsSignal:
        return true;
      case Look::kMoved:
        break;
    }
  }
  // What moves runs; and if it sleeps again when its turn comes, may_signal() sees it.
  return true;
}

void StackCollector::Impl::fail(ThreadStack& thread, CaptureFailure failure) {
  thread.failure = failure;
  read_channel(thread);
}

void StackCollector::Impl::read_channel(ThreadStack& thread) {
  if (const Result<std::string> channel = read_wait_channel(thread.tid)) {
    thread.wait_channel = *channel;
  }
}

Permission StackCollector::Impl::found_masked(ThreadStack& thread, Waiting& waiting) {
  const MonotonicTime now = clock_.now();
  if (!waiting.masked_since) waiting.masked_since = now;
  waiting.next_look = now + kMaskedLookEvery;
  if (now - *waiting.masked_since < kMaskedFor || sigsafe::handlers_in_flight() != 0) {
    return Permission::kLater;
  }
  fail(thread, CaptureFailure::kSignalBlocked);
  return Permission::kNo;
}

// The last look before the signal: the nearer to it, the smaller the window in which the thread
// falls asleep.
Permission StackCollector::Impl::may_signal(ThreadStack& thread, Waiting& waiting) {
  if (waiting.masked_since && clock_.now() < waiting.next_look) return Permission::kLater;
  const Result<ThreadStatus> status = read_thread_status(thread.tid);
  if (!status && is_gone(status.error())) {
    fail(thread, CaptureFailure::kGone);
    return Permission::kNo;
  }
  if (status && !status->takes(signal_number_)) return found_masked(thread, waiting);
  for (int attempt = 0; attempt < options_.attempts_max; ++attempt) {
    const Result<ThreadSyscall> call = read_thread_syscall(thread.tid);
    if (!call) {
      fail(thread, is_gone(call.error()) ? CaptureFailure::kGone : CaptureFailure::kProcHidden);
      return Permission::kNo;
    }
    if (call->kind == ThreadSyscall::Kind::kRunning) return Permission::kWhenItRuns;
    if (ignores_signal(*call)) return Permission::kNow;
    // It sleeps now, in a call that the signal would end.
    switch (look(thread)) {
      case Look::kDone:
        return Permission::kNo;
      case Look::kNeedsSignal:
      case Look::kMoved:
        break;
    }
  }
  fail(thread, CaptureFailure::kMoving);
  return Permission::kNo;
}

void StackCollector::Impl::request_some(std::vector<ThreadStack>& threads,
                                        std::vector<Waiting>& waiting) {
  bool slots_left = true;
  std::erase_if(waiting, [&](Waiting& candidate) {
    if (!slots_left) return false;
    ThreadStack& thread = threads[candidate.index];
    const Permission permission = may_signal(thread, candidate);
    if (permission == Permission::kLater || permission == Permission::kNo) {
      return permission == Permission::kNo;
    }
    const auto way = permission == Permission::kNow ? SignalCapture::Way::kQueued
                                                    : SignalCapture::Way::kWhenItRuns;
    switch (signals_.request(thread.tid, candidate.index, way)) {
      case SignalCapture::Request::kQueued:
        return true;
      case SignalCapture::Request::kGone:
        fail(thread, CaptureFailure::kGone);
        return true;
      case SignalCapture::Request::kNoSlot:
        slots_left = false;
        return false;
    }
    return true;
  });
}

void StackCollector::Impl::take_answers(std::vector<ThreadStack>& threads) {
  while (const auto answer = signals_.take_answer()) {
    struct Release {
      SignalCapture& signals;
      const SignalCapture::Answer& answer;
      ~Release() { signals.release(answer); }
    } const release{signals_, *answer};
    ThreadStack& thread = threads[answer->ticket];
    thread.step = CaptureStep::kSignal;
    thread.failure =
        answer->stack.bytes.empty() ? CaptureFailure::kUnreadable : CaptureFailure::kNone;
    thread.pc = answer->registers.pc();
    thread.sp = answer->registers.sp();
    thread.bytes_copied = answer->stack.bytes.size();
    thread.held = answer->held;
    thread.work = answer->work;
    thread.stack = unwinder_.unwind(answer->registers, answer->stack, options_.frames_max);
  }
}

// A thread that was to be asked when it runs, and sleeps now, is read from outside after all.
void StackCollector::Impl::look_at_sleepers(std::vector<ThreadStack>& threads,
                                            std::vector<Waiting>& waiting) {
  for (const SignalCapture::Waiting& asked : signals_.waiting_to_run()) {
    const Result<ThreadSyscall> call = read_thread_syscall(asked.tid);
    if (!call || call->kind == ThreadSyscall::Kind::kRunning) continue;
    if (!signals_.withdraw(asked.ticket)) continue;
    if (look_repeatedly(threads[asked.ticket])) waiting.push_back({asked.ticket, {}, {}});
  }
}

void StackCollector::Impl::signal_all(std::vector<ThreadStack>& threads,
                                      std::vector<Waiting> waiting, MonotonicTime deadline) {
  request_some(threads, waiting);
  MonotonicTime next_census = clock_.now() + SignalCapture::kSliceMax;
  while (signals_.outstanding() != 0 || !waiting.empty()) {
    signals_.wait(deadline);
    take_answers(threads);
    const MonotonicTime now = clock_.now();
    if (now >= next_census) {
      for (const std::size_t ticket : signals_.take_gone()) {
        fail(threads[ticket], CaptureFailure::kGone);
      }
      look_at_sleepers(threads, waiting);
      next_census = now + SignalCapture::kSliceMax;
    }
    if (now >= deadline) break;
    request_some(threads, waiting);
  }
  for (const std::size_t ticket : signals_.give_up()) {
    fail(threads[ticket], CaptureFailure::kNoAnswer);
  }
  for (const Waiting& left : waiting) {
    fail(threads[left.index],
         left.masked_since ? CaptureFailure::kSignalBlocked : CaptureFailure::kNoSlot);
  }
}

std::vector<ThreadStack> StackCollector::Impl::capture(std::span<const pid_t> tids,
                                                       MonotonicTime deadline,
                                                       ModuleTables tables) {
  const std::lock_guard lock(mutex_);
  // Where memory runs out in the middle: an answer that comes later must not be taken for one to the
  // next capture, whose threads are others.
  struct Outstanding {
    SignalCapture& signals;
    ~Outstanding() { signals.drop(); }
  } const outstanding{signals_};
  // Without a new table the last one serves: frames in newer modules then end their walk.
  if (tables == ModuleTables::kRefresh) (void)modules_.refresh();
  main_stack_end_ = modules_.current()->main_stack_end();
  directory_.emplace();
  resting_.begin_capture(modules_.current().get());
  std::vector<ThreadStack> threads(tids.size());
  std::vector<Waiting> waiting;
  for (std::size_t i = 0; i < tids.size(); ++i) {
    ThreadStack& thread = threads[i];
    thread.tid = tids[i];
    if (thread.tid == current_thread_id()) {
      capture_own(thread);
    } else if (describe(thread) && !take_resting(thread) && look_repeatedly(thread)) {
      waiting.push_back({i, {}, {}});
    }
  }
  if (!waiting.empty()) signal_all(threads, std::move(waiting), deadline);
  directory_.reset();
  resting_.end_capture(tids.size());
  return threads;
}

Result<std::unique_ptr<StackCollector>> StackCollector::create(CollectorOptions options,
                                                               Clock& clock, Modules& modules,
                                                               Unwinder& unwinder,
                                                               SignalChannel& channel) {
  if (options.frames_max < 1 || options.frames_max > 4096) {
    return Error(ErrorCode::kInvalidArgument, "frames_max must be 1 to 4096");
  }
  if (options.stack_bytes_max < 4096 || options.stack_bytes_max > 8 * 1024 * 1024) {
    return Error(ErrorCode::kInvalidArgument, "stack_bytes_max must be 4 KiB to 8 MiB");
  }
  if (options.attempts_max < 1 || options.attempts_max > 100) {
    return Error(ErrorCode::kInvalidArgument, "attempts_max must be 1 to 100");
  }
  return std::unique_ptr<StackCollector>(
      new StackCollector(std::make_unique<Impl>(options, clock, modules, unwinder, channel)));
}

StackCollector::StackCollector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StackCollector::~StackCollector() = default;

std::vector<ThreadStack> StackCollector::capture(std::span<const pid_t> tids,
                                                 MonotonicTime deadline, ModuleTables tables) {
  return impl_->capture(tids, deadline, tables);
}

std::uint64_t StackCollector::resting() const { return impl_->resting(); }

std::vector<ThreadStack> StackCollector::capture_all(MonotonicTime deadline) {
  const Result<std::vector<pid_t>> tids = list_threads();
  if (tids) return capture(*tids, deadline);
  // Without /proc the caller is the one thread that we can name.
  const pid_t own = current_thread_id();
  return capture({&own, 1}, deadline);
}

}  // namespace vigil::sampler
