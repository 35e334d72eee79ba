#include "agent/resident_agent.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "agent/own_descriptors.h"
#include "agent/resident_log.h"
#include "base/signal_mask.h"
#include "sampler/own_wait.h"

namespace vigil {
namespace {

// Tasks alive at once in the agent's own registry: a program that marks more brings one. 64 bytes each.
constexpr std::size_t kOwnTasksMax = 1024;
// The address space that the agent's tables, stacks and memory arenas need where it is limited (RLIMIT_AS). Little of it
// is ever memory: an arena of glibc's malloc reserves 64 MiB a thread.
constexpr rlim_t kAddressSpace = rlim_t{1} << 30;

// Whether the program can spare it: with less, what the agent takes, the program would miss.
Result<void> check_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  if (limit.rlim_cur > kAddressSpace) return {};
  return Error(ErrorCode::kResourceExhausted,
               "the process may have " + std::to_string(limit.rlim_cur >> 20) +
                   " MiB of address space (ulimit -v), and the agent wants 1 GiB");
}

// "127.0.0.1:6060", or "unix:/path" where that is all.
std::string address_of(const ResidentOptions& options, const Agent& agent) {
  const HostPort& endpoint = agent.debug_endpoint();
  if (endpoint.port != 0) return format_host_port(endpoint);
  return "unix:" + agent_options_of(options, ::getpid()).debug_unix;
}

}  // namespace

// Shared by the agent's first thread and whoever waits for it to serve.
struct ResidentAgent::State {
  State(ResidentOptions asked, leakwatch::TaskRegistry* registry)
      : options(std::move(asked)),
        log(options.log),
        own_tasks(registry == nullptr ? std::make_unique<leakwatch::TaskRegistry>(
                                            clock, leakwatch::TaskRegistryOptions{kOwnTasksMax})
                                      : nullptr),
        tasks(registry == nullptr ? *own_tasks : *registry) {}

  static void run(const std::shared_ptr<State>& state) noexcept;
  Result<std::unique_ptr<Agent>> start_agent();
  void wait_for_stop();
  void answer(Result<void> result);

  const ResidentOptions options;
  const pid_t process = ::getpid();
  SystemClock clock;
  ResidentLog log;
  const std::unique_ptr<leakwatch::TaskRegistry> own_tasks;
  leakwatch::TaskRegistry& tasks;
  std::string address;  // set before `started`
  std::thread thread;

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Result<void>> started;  // guarded by mutex
  bool stopping = false;                // likewise
};

Result<std::unique_ptr<Agent>> ResidentAgent::State::start_agent() try {
  if (Result<void> left = leave_descriptor_table(); !left) {
    log.say("the agent shares the program's descriptors: " + left.error().message());
  }
  return Agent::start(agent_options_of(options, process), tasks, log, clock);
} catch (const std::bad_alloc&) {
  return Error(ErrorCode::kResourceExhausted, "no memory for the agent");
} catch (const std::exception& error) {
  return Error(ErrorCode::kSystem, error.what());
}

void ResidentAgent::State::run(const std::shared_ptr<State>& state) noexcept {
  auto agent = state->start_agent();
  if (!agent) return state->answer(std::move(agent).error());
  state->address = address_of(state->options, **agent);
  state->answer({});
  state->wait_for_stop();
}

void ResidentAgent::State::answer(Result<void> result) {
  const std::lock_guard lock(mutex);
  started = std::move(result);
  changed.notify_all();
}

void ResidentAgent::State::wait_for_stop() {
  const sampler::OwnWait all_its_life;
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return stopping; });
}

Result<std::unique_ptr<ResidentAgent>> ResidentAgent::start(ResidentOptions options,
                                                            leakwatch::TaskRegistry* tasks,
                                                            Duration start_timeout) try {
  if (Result<void> checked = check_address_space(); !checked) return std::move(checked).error();
  if (Result<void> loaded = load_token(options); !loaded) return std::move(loaded).error();
  auto state = std::make_shared<State>(std::move(options), tasks);
  {
    const SignalMaskGuard mask = SignalMaskGuard::program_signals();
    state->thread = std::thread([state] { State::run(state); });
  }
  ::pthread_setname_np(state->thread.native_handle(), "vigil");
  std::unique_lock lock(state->mutex);
  const bool in_time =
      state->changed.wait_for(lock, start_timeout, [&state] { return state->started.has_value(); });
  if (!in_time) {
    state->thread.detach();
    return Error(ErrorCode::kDeadlineExceeded, "the agent has not started in time");
  }
  if (!*state->started) {
    lock.unlock();
    state->thread.join();
    return std::move(*state->started).error();
  }
  lock.unlock();
  return std::unique_ptr<ResidentAgent>(new ResidentAgent(std::move(state)));
} catch (const std::system_error& error) {
  return Error(ErrorCode::kResourceExhausted,
               std::string("no thread for the agent: ") + error.what());
} catch (const std::bad_alloc&) {
  return Error(ErrorCode::kResourceExhausted, "no memory for the agent");
}

ResidentAgent::ResidentAgent(std::shared_ptr<State> state) : state_(std::move(state)) {}

ResidentAgent::~ResidentAgent() {
  if (::getpid() != state_->process) {
    // The copy of an agent whose threads are in the parent: it can neither be joined nor taken apart.
    [[maybe_unused]] auto* const kept = new std::shared_ptr<State>(std::move(state_));
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

const std::string& ResidentAgent::address() const { return state_->address; }
leakwatch::TaskRegistry& ResidentAgent::tasks() { return state_->tasks; }

std::string start_line(const ResidentOptions& options, const Result<std::string>& address) {
  const std::string who = options.program + "[" + std::to_string(::getpid()) + "]: ";
  if (!address) return who + "runs without the agent: " + address.error().message();
  if (address->starts_with("unix:")) return who + "debug pages at " + *address;
  return who + "debug pages at http://" + *address + "/debug/pprof/";
}

std::unique_ptr<ResidentAgent> start_agent_from_environment(leakwatch::TaskRegistry* tasks) {
  auto wanted = agent_environment(::getenv, program_invocation_short_name, ::getpid());
  if (!wanted) {
    ResidentLog("stderr").say(wanted.error().message());
    return nullptr;
  }
  if (!*wanted) return nullptr;
  ResidentLog log((*wanted)->log);
  auto agent = ResidentAgent::start(**wanted, tasks);
  if (!agent) {
    log.say(start_line(**wanted, agent.error()));
    return nullptr;
  }
  log.say(start_line(**wanted, (*agent)->address()));
  return *std::move(agent);
}

}  // namespace vigil
