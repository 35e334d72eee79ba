#include "agent/application.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "agent/agent.h"
#include "base/fd.h"
#include "base/signal_mask.h"

namespace vigil {
namespace {

// What the servers need behind the deadline to cut their connections and to log the stacks of what
// still runs (Server::shutdown, Agent::log_shutdown).
constexpr Duration kReportTime = std::chrono::milliseconds(1500);

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

[[noreturn]] void leave_forced() {
  std::fflush(nullptr);
  _exit(Application::kExitForced);
}

// As if the signal had never been blocked.
[[noreturn]] void die_of(int signal_number) {
  std::fflush(nullptr);
  ::signal(signal_number, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal_number);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(signal_number);
  // The kernel spares process 1 of a container the default action.
  constexpr int kKilledBySignal = 128;
  _exit(kKilledBySignal + signal_number);
}

void raise_event(const UniqueFd& event) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event.get(), &one, sizeof(one));
}

}  // namespace

struct Application::Parts {
  struct Ending {
    std::string name;
    Step step;
  };
  enum class Woken : std::uint8_t { kSignal, kEvent, kLate };

  Parts(ApplicationOptions opts, LogSink& sink, Clock& clk)
      : options(opts), log(sink, "application"), clock(clk) {}

  Woken wait(MonotonicTime until);
  int wait_for_first();
  void hang_up();
  void end_all(MonotonicTime deadline);
  void end_servers(MonotonicTime deadline);
  http::ShutdownReport shutdown_all(MonotonicTime deadline);
  void end_in_reverse(const std::vector<Ending>& endings, MonotonicTime deadline);
  void guarded(const Ending& ending, MonotonicTime deadline);
  [[noreturn]] void leave_late();
  void name_step(const std::string& name);
  void log_report(const http::ShutdownReport& report);
  Result<void> start_servers();

  const ApplicationOptions options;
  const Logger log;
  Clock& clock;
  const SignalMaskGuard mask{ending_signals()};
  std::optional<SignalMaskGuard> hangup_mask;  // behind `mask`: restored before it
  std::function<void()> hangup;                // nullptr once the end has begun
  UniqueFd signals;
  UniqueFd event;  // stop(), and the end of all steps
  int last_signal = 0;
  std::atomic<bool> stop_asked{false};
  std::atomic<bool> ended{false};
  std::atomic<bool> failed{false};
  std::mutex step_mutex;
  std::string step;  // guarded by step_mutex; what is ending now

  Agent* agent = nullptr;
  std::vector<http::Server*> servers;
  std::vector<http::TimeoutPool*> timeout_pools;
  std::vector<Ending> workers;
  std::vector<Ending> stores;
};

Result<std::unique_ptr<Application>> Application::create(ApplicationOptions options, LogSink& sink,
                                                         Clock& clock) {
  auto parts = std::make_unique<Parts>(options, sink, clock);
  const sigset_t signals = ending_signals();
  parts->signals.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!parts->signals) return Error::from_errno("signalfd", errno);
  parts->event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!parts->event) return Error::from_errno("eventfd", errno);
  return std::unique_ptr<Application>(new Application(std::move(parts)));
}

Application::Application(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Application::~Application() = default;

void Application::add_server(http::Server& server) { parts_->servers.push_back(&server); }
void Application::add_timeout_pool(http::TimeoutPool& pool) {
  parts_->timeout_pools.push_back(&pool);
}

void Application::add_worker(std::string name, Step stop) {
  parts_->workers.push_back({std::move(name), std::move(stop)});
}
void Application::add_store(std::string name, Step close) {
  parts_->stores.push_back({std::move(name), std::move(close)});
}
void Application::on_hangup(std::function<void()> action) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGHUP);
  if (!parts_->hangup_mask) parts_->hangup_mask.emplace(signals);
  signals = ending_signals();
  sigaddset(&signals, SIGHUP);
  ::signalfd(parts_->signals.get(), &signals, 0);  // cannot fail for a signalfd
  parts_->hangup = std::move(action);
}
void Application::report_through(Agent& agent) { parts_->agent = &agent; }

void Application::stop() {
  parts_->stop_asked.store(true);
  raise_event(parts_->event);
}

Result<int> Application::run() {
  if (Result<void> started = parts_->start_servers(); !started) return std::move(started).error();
  const int signal = parts_->wait_for_first();
  parts_->hangup = nullptr;
  const MonotonicTime deadline = parts_->clock.now() + parts_->options.shutdown_timeout;
  parts_->log.info("shutting down", {{"signal", signal}});
  // The steps have a thread of their own, so that this one can see the second signal, and the
  // deadline pass under a step that does not keep it.
  std::thread ending;
  try {
    ending = std::thread([parts = parts_.get(), deadline] { parts->end_all(deadline); });
  } catch (const std::system_error&) {
    parts_->end_all(deadline);
  }
  while (!parts_->ended.load()) {
    const Parts::Woken woken = parts_->wait(deadline + kReportTime);
    if (woken == Parts::Woken::kSignal) die_of(parts_->last_signal);
    if (woken == Parts::Woken::kLate) parts_->leave_late();
  }
  if (ending.joinable()) ending.join();
  return parts_->failed.load() ? kExitForced : 0;
}

Result<void> Application::Parts::start_servers() {
  for (std::size_t i = 0; i < servers.size(); ++i) {
    Result<void> started = servers[i]->start();
    if (started) continue;
    for (std::size_t j = 0; j < i; ++j) servers[j]->close();
    return started;
  }
  return {};
}

// 0: stop() was called.
int Application::Parts::wait_for_first() {
  while (!stop_asked.load()) {
    if (wait(kNoDeadline) == Woken::kSignal) return last_signal;
  }
  return 0;
}

Application::Parts::Woken Application::Parts::wait(MonotonicTime until) {
  while (true) {
    int timeout_ms = -1;
    if (until != kNoDeadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock.now()).count();
      if (left <= 0) return Woken::kLate;
      timeout_ms = static_cast<int>(std::min<std::int64_t>(left, 3'600'000));
    }
    std::array<pollfd, 2> waited = {pollfd{signals.get(), POLLIN, 0},
                                    pollfd{event.get(), POLLIN, 0}};
    ::poll(waited.data(), waited.size(), timeout_ms);
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo == SIGHUP) {
        hang_up();
        continue;
      }
      last_signal = static_cast<int>(info.ssi_signo);
      return Woken::kSignal;
    }
    std::uint64_t count = 0;
    if (::read(event.get(), &count, sizeof(count)) == sizeof(count)) return Woken::kEvent;
  }
}

void Application::Parts::hang_up() {
  if (!hangup) return;
  try {
    hangup();
  } catch (const std::exception& error) {
    log.error("exception at SIGHUP", {{"exception", error.what()}});
  }
}

// --- The steps, on their own thread.

void Application::Parts::end_all(MonotonicTime deadline) {
  end_servers(deadline);
  end_in_reverse(workers, deadline);
  end_in_reverse(stores, deadline);
  ended.store(true);
  raise_event(event);
}

void Application::Parts::name_step(const std::string& name) {
  std::lock_guard lock(step_mutex);
  step = name;
}

void Application::Parts::end_servers(MonotonicTime deadline) {
  name_step("servers");
  if (agent != nullptr) agent->server_is_draining();
  const http::ShutdownReport report = shutdown_all(deadline);
  log_report(report);
  // Handlers still run, and what they use must not be torn down under them.
  if (!report.complete()) leave_forced();
}

// All at once: the listener of the last one must not wait for the requests of the first.
http::ShutdownReport Application::Parts::shutdown_all(MonotonicTime deadline) {
  std::vector<http::ShutdownReport> reports(servers.size());
  std::vector<std::thread> others;
  for (std::size_t i = 0; i < servers.size(); ++i) {
    const auto work = [this, i, &reports, deadline] {
      reports[i] = servers[i]->shutdown(deadline);
    };
    try {
      if (i + 1 < servers.size()) {
        others.emplace_back(work);
        continue;
      }
    } catch (const std::system_error&) {
      // No thread for it: one after the other, then.
    }
    work();
  }
  for (std::thread& other : others) other.join();
  http::ShutdownReport sum;
  for (http::ShutdownReport& report : reports) {
    sum.drained += report.drained;
    sum.closed_idle += report.closed_idle;
    sum.forced += report.forced;
    sum.hijacked_closed += report.hijacked_closed;
    sum.hijacked_forced += report.hijacked_forced;
    std::move(report.running.begin(), report.running.end(), std::back_inserter(sum.running));
  }
  for (http::TimeoutPool* pool : timeout_pools) {
    for (http::RunningHandler& handler : pool->drain(deadline)) {
      sum.running.push_back(std::move(handler));
    }
  }
  return sum;
}

void Application::Parts::log_report(const http::ShutdownReport& report) {
  if (agent != nullptr) return agent->log_shutdown(report);
  log.info("server shut down", {{"drained", report.drained},
                                {"closed_idle", report.closed_idle},
                                {"forced", report.forced},
                                {"hijacked_closed", report.hijacked_closed},
                                {"hijacked_forced", report.hijacked_forced},
                                {"still_running", report.running.size()}});
}

void Application::Parts::end_in_reverse(const std::vector<Ending>& endings,
                                        MonotonicTime deadline) {
  for (auto ending = endings.rbegin(); ending != endings.rend(); ++ending) {
    name_step(ending->name);
    guarded(*ending, deadline);
    if (clock.now() > deadline) leave_late();
  }
}

void Application::Parts::guarded(const Ending& ending, MonotonicTime deadline) {
  try {
    ending.step(deadline);
  } catch (const std::exception& error) {
    failed.store(true);
    log.error("a shutdown step failed", {{"step", ending.name}, {"exception", error.what()}});
  }
}

void Application::Parts::leave_late() {
  {
    std::lock_guard lock(step_mutex);
    log.error("shutdown deadline passed", {{"step", step}});
  }
  leave_forced();
}

}  // namespace vigil
