#include "server-core/monitor.h"

#include <pthread.h>

#include <exception>
#include <new>

#include "base/signal_mask.h"
#include "sampler/own_wait.h"
#include "sampler/proc_thread.h"
#include "server-core/engine.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// Without memory to ask: no. To take polling away from a thread that runs does no harm.
bool is_runnable(pid_t thread) {
  try {
    const auto stat = sampler::read_thread_stat(thread);
    return stat && stat->state == 'R';
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

Result<void> Monitor::start() {
  // Profiled and dumped like any other thread; never the one that runs the program's handlers.
  const SignalMaskGuard mask = SignalMaskGuard::program_signals();
  try {
    name_ = (engine_.options.thread_name + "-monitor").substr(0, 15);
    seen_.assign(engine_.pollers.size(), {});
    engine_.balancer.prepare();
    thread_ = std::thread([this] { run(); });
  } catch (const std::exception& error) {  // no thread, or no memory for one
    return Error(ErrorCode::kResourceExhausted, error.what());
  }
  return {};
}

void Monitor::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Monitor::wake() {
  {
    std::lock_guard lock(mutex_);
    asleep_.store(false);
  }
  wake_.notify_one();
}

void Monitor::run() {
  pthread_setname_np(pthread_self(), name_.c_str());
  const sampler::OwnWait all_its_life;
  int quiet = 0;
  std::unique_lock lock(mutex_);
  engine_.balancer.begin(engine_.clock.now());
  while (!stopping_) {
    engine_.clock.wait_until(lock, wake_, engine_.clock.now() + kTick);
    quiet = step() ? 0 : quiet + 1;
    engine_.balancer.step(engine_.clock.now());
    if (quiet < kQuietTicks) continue;
    asleep_.store(true);
    // A turn that began before it could see us asleep is seen here (both sides are sequentially
    // consistent).
    if (step()) asleep_.store(false);
    sleep(lock);
    quiet = 0;
  }
}

// Until a leader has something for it.
void Monitor::sleep(std::unique_lock<std::mutex>& lock) {
  Balancer& balancer = engine_.balancer;
  while (asleep_.load() && !stopping_) {
    if (balancer.at_rest()) {
      wake_.wait(lock);
      balancer.begin(engine_.clock.now());
    } else {
      engine_.clock.wait_until(lock, wake_, balancer.next());
      balancer.step(engine_.clock.now());
    }
  }
}

bool Monitor::step() {
  bool active = false;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    Poller& poller = *engine_.pollers[i];
    Seen& seen = seen_[i];
    const std::uint64_t turn = poller.turn();
    const bool runs_inline = turn % 2 == 1;
    active |= runs_inline || turn != seen.turn;
    seen.ticks = turn == seen.turn ? seen.ticks + 1 : 0;
    seen.turn = turn;
    if (!runs_inline || seen.ticks == 0) continue;
    if (seen.ticks < kRunningTicks && is_runnable(poller.leader())) continue;
    // Noted by the pool's lock, not a thread's own counter: this is not the engine's thread.
    if (poller.rescue(turn)) engine_.pool.add(Counter::kRescued);
  }
  return active;
}

}  // namespace vigil::http
