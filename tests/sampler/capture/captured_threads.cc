#include "tests/sampler/capture/captured_threads.h"

#include <signal.h>

#include <algorithm>
#include <utility>

#include "base/thread_id.h"
#include "sampler/proc_thread.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

[[gnu::noinline]] void test_middle(const std::function<void()>& body) {
  body();
  asm volatile("");  // no tail call
}

[[gnu::noinline]] void test_outer(const std::function<void()>& body) {
  test_middle(body);
  asm volatile("");
}

[[gnu::noinline]] void test_spin(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    asm volatile("");
  }
}

bool has_test_functions(const Stack& stack) {
  const std::vector<std::string> names = frame_names(stack);
  const auto is = [](std::string_view part) {
    return [part](const std::string& name) { return name.find(part) != std::string::npos; };
  };
  const auto middle = std::find_if(names.begin(), names.end(), is("test_middle"));
  return middle != names.end() && std::next(middle) != names.end() &&
         is("test_outer")(*std::next(middle));
}

void block_signals(std::atomic<bool>& blocked) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  blocked = true;
  blocked.notify_all();
}

TestThread::TestThread(std::function<void()> body)
    : thread_([this, body = std::move(body)] {
        tid_.store(current_thread_id());
        tid_.notify_all();
        test_outer(body);
      }) {
  tid_.wait(0);
}

bool TestThread::await_blocked(std::int64_t syscall_number) const {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < until) {
    const auto call = read_thread_syscall(tid_);
    if (call && call->kind == ThreadSyscall::Kind::kBlocked && call->number == syscall_number) {
      return true;
    }
    std::this_thread::yield();
  }
  return false;
}

Sampling::Sampling(SignalChannelOptions options) {
  auto installed = SignalChannel::install(options);
  REQUIRE(installed);
  channel = std::move(*installed);
  auto created = StackCollector::create({}, clock, modules, unwinder, *channel);
  REQUIRE(created);
  collector = std::move(*created);
}

ThreadStack Sampling::capture_one(pid_t tid, Duration within) {
  return collector->capture({&tid, 1}, clock.now() + within).at(0);
}

}  // namespace vigil::sampler
