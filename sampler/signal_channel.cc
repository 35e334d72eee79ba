#include "sampler/signal_channel.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "sampler/maps_parser.h"
#include "sampler/proc_file.h"
#include "sampler/sigsafe/handler.h"
#include "sampler/sparse_memory.h"

namespace vigil::sampler {
namespace {

using sigsafe::Slot;
using sigsafe::SlotState;
using sigsafe::Tables;

// How long the destructor waits for handlers to leave. A handler takes microseconds; only a stopped
// thread is later.
constexpr auto kHandlersLeaveWithin = std::chrono::milliseconds(200);

constexpr std::uint32_t kSlotsMax = 4096;

// The signal whose disposition is our handler, 0 if none. Outlives channels: an inert handler stays
// installed.
constinit std::atomic<int> g_owned_signal{0};
// Held from install() to the destructor.
constinit std::atomic<bool> g_installed{false};

// The right to install a channel, which ends early with whatever ends install() early: an error, or
// std::bad_alloc.
class Claim {
 public:
  Claim() = default;
  ~Claim() {
    if (!kept_) g_installed.store(false);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  // From here on it is the channel's.
  void keep() { kept_ = true; }

 private:
  bool kept_ = false;
};

// A child of fork(2) has no collector that would read its tables, and can install a channel of its own. The handler
// stays on its signal, inert.
void have_children_begin_anew() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::pthread_atfork(nullptr, nullptr, [] {
      sigsafe::forget_parent();
      g_installed.store(false);
    });
  });
}

// The kernel's struct sigaction. glibc's own differs, and its sigaction() may be intercepted:
// ThreadSanitizer's delays a signal until the thread's next library call, and then the registers no
// longer fit the stack.
struct KernelSigaction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};

// Both return 0 or errno.
int get_disposition(int number, KernelSigaction& action) {
  return syscall(SYS_rt_sigaction, number, nullptr, &action, sizeof action.mask) == 0 ? 0 : errno;
}
int set_disposition(int number, const KernelSigaction& action) {
  return syscall(SYS_rt_sigaction, number, &action, nullptr, sizeof action.mask) == 0 ? 0 : errno;
}

bool is_default(const KernelSigaction& action) {
  return action.handler == nullptr;  // SIG_DFL is 0
}

// Our handler on `number`, as the C library would install it, then without what a sanitizer puts
// around it.
Result<void> set_handler(int number) {
  struct sigaction wanted {};
  wanted.sa_sigaction = &sigsafe::on_signal;
  wanted.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&wanted.sa_mask);
  if (sigaction(number, &wanted, nullptr) != 0) return Error::from_errno("sigaction", errno);
  KernelSigaction action{};
  if (const int failed = get_disposition(number, action)) {
    return Error::from_errno("rt_sigaction", failed);
  }
  action.handler = &sigsafe::on_signal;
  action.mask = 0;
  if (const int failed = set_disposition(number, action)) {
    return Error::from_errno("rt_sigaction", failed);
  }
  return {};
}

// The signal to use: the one that still has our inert handler, else the highest free one.
std::optional<int> choose_signal() {
  KernelSigaction action{};
  const int owned = g_owned_signal.load();
  if (owned != 0 && get_disposition(owned, action) == 0 && action.handler == &sigsafe::on_signal) {
    return owned;
  }
  for (int number = SIGRTMAX - 1; number >= SIGRTMIN; --number) {
    if (get_disposition(number, action) == 0 && is_default(action)) return number;
  }
  return std::nullopt;
}

std::uintptr_t read_main_stack_end() {
  const Result<std::string> text = read_proc_file("/proc/self/maps", kMapsBytesMax);
  if (!text) return 0;
  for (const MapsEntry& entry : parse_maps(*text)) {
    if (entry.path == "[stack]") return entry.end;
  }
  return 0;
}

std::uint32_t default_sample_slots() {
  return std::clamp(std::thread::hardware_concurrency() * 32, 128u, 2048u);
}

// One mapping: Tables, the slots, then the stack buffers on page boundaries. Only touched pages are
// memory.
Tables* map_tables(std::uint32_t captures, std::uint32_t samples) {
  constexpr std::size_t kAlign = 4096;
  const std::size_t slots = std::size_t{captures} + samples;
  const std::size_t head = (sizeof(Tables) + slots * sizeof(Slot) + kAlign - 1) / kAlign * kAlign;
  const std::size_t bytes = head + slots * sigsafe::kStackCopyMax;
  void* memory = map_sparse(bytes);
  if (memory == nullptr) return nullptr;
  auto* bytes_begin = static_cast<std::byte*>(memory);
  auto* tables = new (memory) Tables;
  auto* first_slot = reinterpret_cast<Slot*>(bytes_begin + sizeof(Tables));
  static_assert(sizeof(Tables) % alignof(Slot) == 0);
  for (std::size_t i = 0; i < slots; ++i) {
    Slot* slot = new (first_slot + i) Slot;
    slot->stack = bytes_begin + head + i * sigsafe::kStackCopyMax;
  }
  tables->captures = {first_slot, captures};
  tables->samples = {first_slot + captures, samples};
  tables->mapping_bytes = bytes;
  return tables;
}

struct UnmapTables {
  void operator()(Tables* tables) const { munmap(tables, tables->mapping_bytes); }
};

// Whether a signal of ours may still be on its way to some thread.
bool may_be_pending(const Tables& tables) {
  if (tables.timers_armed.load() != 0) return true;
  return std::any_of(tables.captures.begin(), tables.captures.end(), [](const Slot& slot) {
    return sigsafe::slot_state(slot.word.load()) != SlotState::kFree;
  });
}

bool wait_for_handlers() {
  const auto until = std::chrono::steady_clock::now() + kHandlersLeaveWithin;
  while (sigsafe::handlers_in_flight() != 0) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<SignalChannel>> SignalChannel::install(const SignalChannelOptions& options) {
  if (options.capture_slots < 1 || options.capture_slots > kSlotsMax ||
      options.sample_slots > kSlotsMax) {
    return Error(ErrorCode::kInvalidArgument,
                 "capture_slots must be 1 to 4096, sample_slots 0 to 4096");
  }
  if (g_installed.exchange(true)) {
    return Error(ErrorCode::kBusy, "the sampler's signal handler is installed already");
  }
  Claim claim;
  have_children_begin_anew();
  const std::optional<int> number = choose_signal();
  if (!number) {
    return Error(ErrorCode::kBusy,
                 "no free real-time signal: the program has a handler on every one of them");
  }
  const std::uint32_t samples =
      options.sample_slots != 0 ? options.sample_slots : default_sample_slots();
  std::unique_ptr<Tables, UnmapTables> tables(map_tables(options.capture_slots, samples));
  if (!tables) return Error::from_errno("mmap", errno);
  tables->pid = getpid();
  tables->signal_number = *number;
  tables->main_stack_end.store(read_main_stack_end());
  std::unique_ptr<SignalChannel> channel(new SignalChannel(*number));
  sigsafe::exchange_tables(tables.get());
  if (Result<void> set = set_handler(*number); !set) {
    sigsafe::exchange_tables(nullptr);
    return std::move(set).error().with_context("cannot install the sampler's handler");
  }
  g_owned_signal.store(*number);
  channel->tables_ = tables.release();
  claim.keep();
  return channel;
}

SignalChannel::SignalChannel(int signal_number) : signal_number_(signal_number) {}

SignalChannel::~SignalChannel() {
  if (tables_ == nullptr) return;  // install() has not come to its end
  KernelSigaction action{};
  const bool ours =
      get_disposition(signal_number_, action) == 0 && action.handler == &sigsafe::on_signal;
  const bool pending = may_be_pending(*tables_);
  sigsafe::exchange_tables(nullptr);
  if (ours && !pending) {
    signal(signal_number_, SIG_DFL);
    g_owned_signal.store(0);
  }
  // A handler that does not end (its thread is stopped by a debugger) keeps its tables: a leak, not
  // a crash.
  if (wait_for_handlers()) munmap(tables_, tables_->mapping_bytes);
  g_installed.store(false);
}

SignalCounters SignalChannel::counters() const {
  const sigsafe::Counters& c = tables_->counters;
  return {c.captures, c.captures_late, c.samples, c.samples_lost, c.samples_late, c.foreign};
}

}  // namespace vigil::sampler
