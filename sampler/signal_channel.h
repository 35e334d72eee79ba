// The one real-time signal of the sampler, and the tables that its handler writes to.
//
//   auto channel = SignalChannel::install({});
//   if (!channel) …  // busy: no free signal, or another channel is installed
//   StackCollector::create(options, clock, modules, unwinder, **channel);
//
// The signal serves two purposes that the handler tells apart by si_code: captures that a collector
// asked for (rt_tgsigqueueinfo, SI_QUEUE) and expiries of CPU timers (SI_TIMER). The handler itself
// is in sigsafe/.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "sampler/sigsafe/tables.h"

namespace vigil::sampler {

struct SignalChannelOptions {
  // Threads that can be captured by signal at the same moment; more wait for a slot within their
  // deadline. Each slot is 64 KiB of address space, of which only what was written is
  // memory. 1..4096.
  std::uint32_t capture_slots = 64;
  // CPU samples between two drains (10 ms). 0: 32 a processor, at least 128, at most 2048.
  std::uint32_t sample_slots = 0;
};

// What the handler has seen since installation. Loss is data: the pages show these.
struct SignalCounters {
  std::uint64_t captures = 0;       // requested captures answered
  std::uint64_t captures_late = 0;  // answered after the collector had given up
  std::uint64_t samples = 0;        // timer expiries stored
  std::uint64_t samples_lost = 0;   // timer expiries that found no free slot
  std::uint64_t samples_late = 0;   // timer expiries of a capture that has ended
  std::uint64_t foreign = 0;        // signals of our number that were not ours; ignored
};

// At most one is installed in a process at a time; a child of fork(2) has none, and may install its own. install() and the destructor are not to be
// called from a signal handler; everything else is thread-safe.
class SignalChannel {
 public:
  // Takes the highest free real-time signal, from SIGRTMAX-1 down. Free means SIG_DFL: a signal
  // with any other disposition belongs to somebody and is skipped, never stolen. The handler has
  // SA_SIGINFO | SA_RESTART | SA_ONSTACK and blocks nothing but itself. Errors: busy (no free
  // real-time signal; or a channel is already installed), resource_exhausted (no memory),
  // invalid_argument (options out of range).
  static Result<std::unique_ptr<SignalChannel>> install(const SignalChannelOptions& options);

  // Uninstalls. A real-time signal's default action is to kill the process, and a timer's last
  // signal may still be on its way. So the disposition goes back to SIG_DFL only if nothing of ours
  // can be pending (no CPU timer was ever armed, every capture was answered); otherwise the handler
  // stays, inert. A later install() takes the same signal again. For the same reason code with this
  // library must not be unloaded by dlclose (link the agent with -z nodelete).
  ~SignalChannel();
  SignalChannel(const SignalChannel&) = delete;
  SignalChannel& operator=(const SignalChannel&) = delete;

  int signal_number() const { return signal_number_; }
  SignalCounters counters() const;

  // For collectors: the tables shared with the handler. Valid while the channel lives.
  sigsafe::Tables& tables() { return *tables_; }

 private:
  explicit SignalChannel(int signal_number);

  int signal_number_;
  sigsafe::Tables* tables_ = nullptr;  // null until install() has come to its end
};

}  // namespace vigil::sampler
