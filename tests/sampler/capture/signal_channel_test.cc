#include "sampler/signal_channel.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "sampler/sample_session.h"
#include "sampler/signal_capture.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

void nothing(int) {}

struct sigaction disposition_of(int number) {
  struct sigaction action {};
  sigaction(number, nullptr, &action);
  return action;
}

// Takes a real-time signal as a program would, for the length of a scope.
class TakenSignal {
 public:
  explicit TakenSignal(int number) : number_(number) {
    struct sigaction action {};
    action.sa_handler = &nothing;
    sigaction(number_, &action, &before_);
  }
  ~TakenSignal() { sigaction(number_, &before_, nullptr); }
  TakenSignal(const TakenSignal&) = delete;
  TakenSignal& operator=(const TakenSignal&) = delete;

 private:
  int number_;
  struct sigaction before_ {};
};

std::unique_ptr<SignalChannel> install(SignalChannelOptions options = {}) {
  auto channel = SignalChannel::install(options);
  REQUIRE(channel);
  return std::move(*channel);
}

// SIGRTMIN is not a constant: the C library keeps some of the kernel's for itself.
int free_signal() {
  const auto probe = install();
  return probe->signal_number();
}

void send_to_self(int number, int code, std::uint64_t value) {
  siginfo_t info{};
  info.si_code = code;
  info.si_pid = getpid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  REQUIRE(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), number, &info) == 0);
}

TEST_CASE("P6.2: the handler does not interrupt, and uses the alternate stack") {
  const auto channel = install();
  const struct sigaction action = disposition_of(channel->signal_number());
  CHECK((action.sa_flags & (SA_SIGINFO | SA_RESTART | SA_ONSTACK)) ==
        (SA_SIGINFO | SA_RESTART | SA_ONSTACK));
  CHECK(channel->signal_number() >= SIGRTMIN);
  CHECK(channel->signal_number() < SIGRTMAX);
}

TEST_CASE("P6.6: a taken signal is skipped, not stolen") {
  const int first = free_signal();
  const TakenSignal taken(first);
  {
    const auto channel = install();
    CHECK(channel->signal_number() < first);
    CHECK(disposition_of(first).sa_handler == &nothing);
  }
  CHECK(disposition_of(first).sa_handler == &nothing);
}

TEST_CASE("P6.6: no free signal is busy") {
  std::vector<std::unique_ptr<TakenSignal>> all;
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    all.push_back(std::make_unique<TakenSignal>(number));
  }
  const auto channel = SignalChannel::install({});
  REQUIRE_FALSE(channel);
  CHECK(channel.error().code() == ErrorCode::kBusy);
  all.clear();
  CHECK(SignalChannel::install({}));
}

TEST_CASE("one channel a process, and options in range") {
  {
    const auto channel = install();
    CHECK(SignalChannel::install({}).error().code() == ErrorCode::kBusy);
  }
  CHECK(SignalChannel::install({.capture_slots = 0}).error().code() == ErrorCode::kInvalidArgument);
  CHECK(SignalChannel::install({.capture_slots = 4097}).error().code() ==
        ErrorCode::kInvalidArgument);
  CHECK(SignalChannel::install({.capture_slots = 4096}));
}

TEST_CASE("P6.6: uninstalled without a timer ever armed, the signal is as before") {
  const int number = install()->signal_number();
  CHECK(disposition_of(number).sa_handler == SIG_DFL);
}

TEST_CASE("signals that are not ours are counted and ignored") {
  const auto channel = install();
  const int number = channel->signal_number();
  send_to_self(number, SI_QUEUE, 0);           // a slot that asked for nothing
  send_to_self(number, SI_QUEUE, UINT64_MAX);  // no such slot
  send_to_self(number, SI_QUEUE, reinterpret_cast<std::uintptr_t>(&channel));  // a pointer
  send_to_self(number, SI_TIMER, UINT64_MAX);                                  // no such session
  raise(number);                                                               // SI_TKILL
  CHECK(channel->counters().foreign == 5);
  send_to_self(number, SI_TIMER, sigsafe::pack_value({3, 12345}));  // an ended session
  CHECK(channel->counters().samples_late == 1);
  CHECK(channel->counters().captures == 0);
}

TEST_CASE("a thread that does not answer parks the slot until its late signal") {
  const auto channel = install({.capture_slots = 1});
  SystemClock clock;
  std::optional<SignalCapture> capture(std::in_place, *channel, clock);
  std::atomic<bool> masked{false};
  std::atomic<bool> unmask{false};
  TestThread thread([&] {
    block_signals(masked);
    unmask.wait(false);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
  });
  masked.wait(false);
  REQUIRE(capture->request(thread.tid(), 5) == SignalCapture::Request::kQueued);
  CHECK(capture->request(thread.tid(), 6) == SignalCapture::Request::kNoSlot);
  capture->wait(clock.now() + std::chrono::milliseconds(5));
  CHECK_FALSE(capture->take_answer());
  CHECK(capture->give_up() == std::vector<std::size_t>{5});
  CHECK(capture->request(thread.tid(), 7) == SignalCapture::Request::kNoSlot);
  unmask = true;
  unmask.notify_all();
  thread.join();
  CHECK(channel->counters().captures_late == 1);
  TestThread other([] {});
  CHECK(capture->request(gettid(), 8) == SignalCapture::Request::kQueued);
  const auto answer = capture->take_answer();
  REQUIRE(answer);
  CHECK(answer->ticket == 8);
  CHECK(answer->stack.bytes.size() > kRedZoneBytes);
  capture->release(*answer);
  capture.reset();
}

TEST_CASE("a parked slot is free again when its thread is gone") {
  const auto channel = install({.capture_slots = 1});
  SystemClock clock;
  SignalCapture capture(*channel, clock);
  std::atomic<bool> masked{false};
  std::atomic<bool> end{false};
  TestThread thread([&] {
    block_signals(masked);
    end.wait(false);
  });
  masked.wait(false);
  REQUIRE(capture.request(thread.tid(), 1) == SignalCapture::Request::kQueued);
  capture.give_up();
  REQUIRE(capture.request(gettid(), 2) == SignalCapture::Request::kNoSlot);
  end = true;
  end.notify_all();
  thread.join();
  // join() may return a moment before the kernel has taken the thread off its list.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  auto request = SignalCapture::Request::kNoSlot;
  while (request == SignalCapture::Request::kNoSlot && std::chrono::steady_clock::now() < until) {
    request = capture.request(gettid(), 3);
  }
  CHECK(request == SignalCapture::Request::kQueued);
}

TEST_CASE("after timers were armed the handler stays, inert, and the signal is used again") {
  int number = 0;
  {
    const auto channel = install();
    number = channel->signal_number();
    CHECK(SampleSession::open(*channel));
  }
  CHECK(disposition_of(number).sa_handler != SIG_DFL);
  send_to_self(number, SI_TIMER, sigsafe::pack_value({0, 1}));  // a late expiry: not deadly
  CHECK(install()->signal_number() == number);
}

TEST_CASE("P6.7: a forked child ignores the signal") {
  const auto channel = install();
  const pid_t child = fork();
  if (child == 0) {
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    const bool sent =
        syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), channel->signal_number(), &info) == 0;
    _exit(sent && channel->counters().foreign == 0 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("sessions are bounded, and free again when closed") {
  const auto channel = install();
  std::vector<std::unique_ptr<SampleSession>> sessions;
  for (std::uint32_t i = 0; i < sigsafe::kSessionsMax; ++i) {
    auto session = SampleSession::open(*channel);
    REQUIRE(session);
    sessions.push_back(std::move(*session));
  }
  CHECK(SampleSession::open(*channel).error().code() == ErrorCode::kBusy);
  sessions.pop_back();
  CHECK(SampleSession::open(*channel));
}

TEST_CASE("samples beyond the slots are counted as lost, with their weight") {
  const auto channel = install({.sample_slots = 2});
  auto session = SampleSession::open(*channel);
  REQUIRE(session);
  const auto expire = [&] {
    send_to_self(channel->signal_number(), SI_TIMER, (*session)->signal_value());
  };
  expire();
  expire();
  CHECK((*session)->lost() == 0);
  expire();
  CHECK((*session)->lost() == 1);
  int drained = 0;
  (*session)->drain([&](const sigsafe::Slot& slot) {
    drained += slot.tid == gettid() && slot.weight == 1 && slot.stack_bytes > 0;
  });
  CHECK(drained == 2);
  expire();
  CHECK((*session)->lost() == 1);
  CHECK(channel->counters().samples == 3);
  CHECK(channel->counters().samples_lost == 1);
  (*session)->close();
  expire();
  CHECK(channel->counters().samples_late == 1);
}

TEST_CASE("sessions drain their own samples, and then the first slots are used again") {
  const auto channel = install({.sample_slots = 200});
  auto first = SampleSession::open(*channel);
  auto second = SampleSession::open(*channel);
  REQUIRE(first);
  REQUIRE(second);
  const auto expire = [&](const SampleSession& session) {
    send_to_self(channel->signal_number(), SI_TIMER, session.signal_value());
  };
  using Slots = std::vector<const sigsafe::Slot*>;
  const auto drained = [](SampleSession& session) {
    Slots slots;
    session.drain([&](const sigsafe::Slot& slot) { slots.push_back(&slot); });
    return slots;
  };
  const auto slot = [&](std::size_t i) { return &channel->tables().samples[i]; };
  // In two words of the set of slots that are done.
  for (int i = 0; i < 63; ++i) expire(**first);
  expire(**second);
  expire(**first);
  expire(**second);
  CHECK(drained(**second) == Slots{slot(63), slot(65)});
  expire(**second);
  CHECK(drained(**second) == Slots{slot(66)});  // the first's are still there
  CHECK(drained(**first).size() == 64);
  CHECK(drained(**first).empty());
  expire(**second);
  CHECK(drained(**second) == Slots{slot(0)});
}

}  // namespace
}  // namespace vigil::sampler
