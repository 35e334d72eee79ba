#include "leakwatch/callback_thread.h"

#include <pthread.h>

#include <deque>
#include <mutex>
#include <utility>

#include "base/signal_mask.h"
#include "sampler/own_wait.h"

namespace vigil::leakwatch {

struct CallbackThread::State {
  State(CallbackThreadOptions opts, Clock& clk) : options(opts), clock(clk) {}

  // Of the call that has begun last.
  enum class Call : std::uint8_t {
    kNone,     // -> kRunning when one begins
    kRunning,  // -> kNone at its end; -> kOverrun when it is seen past the budget
    kOverrun,  // -> kNone at its end
  };

  const CallbackThreadOptions options;
  Clock& clock;  // not read any more once `stopping` is set: its owner may be gone then
  std::mutex mutex;
  std::condition_variable changed;  // with mutex
  std::deque<std::function<void()>> queue;
  Call call = Call::kNone;
  MonotonicTime began{};
  bool stopping = false;
  bool ended = false;
  Counters counters;

  bool is_late(MonotonicTime now) const {
    return call == Call::kRunning && now - began > options.budget;
  }
  void note_overrun() {
    call = Call::kOverrun;
    ++counters.overrun;
  }
};

CallbackThread::CallbackThread(CallbackThreadOptions options, Clock& clock)
    : options_(options), clock_(clock), state_(std::make_shared<State>(options, clock)) {
  const SignalMaskGuard guard = SignalMaskGuard::program_signals();
  thread_ = std::thread([state = state_] { run(state); });
  pthread_setname_np(thread_.native_handle(), "vigil-callback");
}

CallbackThread::~CallbackThread() {
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->counters.dropped += state_->queue.size();
    state_->queue.clear();
    state_->changed.notify_all();
    const MonotonicTime deadline = clock_.now() + options_.budget;
    while (!state_->ended && clock_.now() < deadline) {
      clock_.wait_until(lock, state_->changed, deadline);
    }
    if (!state_->ended) {
      thread_.detach();
      return;
    }
  }
  thread_.join();
}

void CallbackThread::run(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    {
      const sampler::OwnWait idle;
      state->changed.wait(lock, [&] { return state->stopping || !state->queue.empty(); });
    }
    if (state->stopping) break;
    std::function<void()> call = std::move(state->queue.front());
    state->queue.pop_front();
    ++state->counters.called;
    state->call = State::Call::kRunning;
    state->began = state->clock.now();
    lock.unlock();
    bool threw = false;
    try {
      call();
      call = nullptr;  // what it holds ends outside the lock, too
    } catch (...) {
      threw = true;
    }
    lock.lock();
    if (threw) ++state->counters.failed;
    if (!state->stopping && state->is_late(state->clock.now())) state->note_overrun();
    state->call = State::Call::kNone;
  }
  state->ended = true;
  state->changed.notify_all();
}

void CallbackThread::post(std::function<void()> call) {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->queue.size() >= options_.queued_max) {
      ++state_->counters.dropped;
      return;
    }
    state_->queue.push_back(std::move(call));
  }
  state_->changed.notify_all();
}

bool CallbackThread::has_overrun(MonotonicTime now) {
  std::lock_guard lock(state_->mutex);
  if (!state_->is_late(now)) return false;
  state_->note_overrun();
  return true;
}

CallbackThread::Counters CallbackThread::counters() const {
  std::lock_guard lock(state_->mutex);
  return state_->counters;
}

}  // namespace vigil::leakwatch
