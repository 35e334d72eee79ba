#include "server-core/deadline_timer.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/signal_mask.h"
#include "sampler/own_wait.h"

namespace vigil::http {

struct DeadlineTimer::State {
  using Key = std::pair<MonotonicTime, std::uint64_t>;  // the number makes it unique

  explicit State(Clock& timer_clock) : clock(timer_clock) {}

  void run();

  Clock& clock;  // touched by the thread and at() only
  std::mutex mutex;
  // All guarded by mutex.
  std::condition_variable wake;   // the first deadline has changed, or the end has come
  std::condition_variable ended;  // an action has
  std::map<Key, std::function<void()>> waiting;
  std::uint64_t next_id = 1;
  std::uint64_t running = 0;  // the action that runs now
  bool stopping = false;
  std::thread thread;      // stop() takes it
  std::thread::id runner;  // of the thread, once it runs
};

void DeadlineTimer::State::run() {
  std::unique_lock lock(mutex);
  runner = std::this_thread::get_id();
  while (!stopping) {
    const MonotonicTime first = waiting.empty() ? kNoDeadline : waiting.begin()->first.first;
    if (clock.now() < first) {
      const sampler::OwnWait idle;
      // Without a deadline, no fake time can make this wait end early.
      if (first == kNoDeadline) {
        wake.wait(lock);
      } else {
        clock.wait_until(lock, wake, first);
      }
      continue;
    }
    auto node = waiting.extract(waiting.begin());
    running = node.key().second;
    lock.unlock();
    node.mapped()();
    node = {};  // what the action has captured goes before anybody is told
    lock.lock();
    running = 0;
    ended.notify_all();
  }
}

DeadlineTimer::DeadlineTimer(Clock& clock) : state_(std::make_shared<State>(clock)) {}

DeadlineTimer::~DeadlineTimer() { stop(); }

void DeadlineTimer::stop() {
  std::map<State::Key, std::function<void()>> dropped;
  std::thread thread;
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    dropped.swap(state_->waiting);
    thread.swap(state_->thread);
    state_->wake.notify_one();
  }
  if (!thread.joinable()) return;
  // The last owner may be what an action has run; the thread then ends by itself.
  const bool from_action = thread.get_id() == std::this_thread::get_id();
  from_action ? thread.detach() : thread.join();
}

DeadlineTimer::Entry DeadlineTimer::at(MonotonicTime deadline, std::function<void()> action) {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->stopping) try {
        if (!state_->thread.joinable()) {
          const SignalMaskGuard mask = SignalMaskGuard::program_signals();
          state_->thread = std::thread([state = state_] { state->run(); });
        }
        const std::uint64_t id = state_->next_id++;
        const auto added =
            state_->waiting.emplace(State::Key{deadline, id}, std::move(action)).first;
        if (added == state_->waiting.begin()) state_->wake.notify_one();
        return {state_, deadline, id};
      } catch (const std::system_error&) {
      }
  }
  action();
  return {};
}

void DeadlineTimer::Entry::cancel() {
  const std::shared_ptr<State> state = std::move(state_);
  if (!state) return;
  decltype(state->waiting)::node_type taken;  // destroyed without the lock: it may own anything
  std::unique_lock lock(state->mutex);
  taken = state->waiting.extract({deadline_, id_});
  const bool from_action = state->runner == std::this_thread::get_id();
  while (taken.empty() && !from_action && state->running == id_) state->ended.wait(lock);
  lock.unlock();
}

}  // namespace vigil::http
