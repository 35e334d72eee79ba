#include "sampler/sample_session.h"

#include <chrono>
#include <thread>

namespace vigil::sampler {
namespace {

// A session's generation: 0 is free, this is taken but not sampling (being opened or closed, or
// parked).
constexpr std::uint64_t kReserved = UINT64_MAX;
constexpr auto kWritersLeaveWithin = std::chrono::milliseconds(100);

}  // namespace

Result<std::unique_ptr<SampleSession>> SampleSession::open(SignalChannel& channel) {
  sigsafe::Tables& tables = channel.tables();
  for (std::uint32_t index = 0; index < sigsafe::kSessionsMax; ++index) {
    sigsafe::Session& session = tables.sessions[index];
    std::uint64_t free = 0;
    if (!session.generation.compare_exchange_strong(free, kReserved)) continue;
    session.lost.store(0);
    // 48 bits in si_value; never 0 nor kReserved.
    const std::uint64_t generation = tables.next_generation.fetch_add(1);
    tables.timers_armed.store(1);
    try {
      std::unique_ptr<SampleSession> opened(new SampleSession(channel, index, generation));
      session.generation.store(generation);
      return opened;
    } catch (...) {
      session.generation.store(0);
      throw;
    }
  }
  return Error(ErrorCode::kBusy, "16 CPU profiles are being taken already");
}

SampleSession::SampleSession(SignalChannel& channel, std::uint32_t index, std::uint64_t generation)
    : channel_(channel),
      index_(index),
      generation_(generation),
      done_(sigsafe::slot_word(sigsafe::SlotState::kDone, index)) {}

SampleSession::~SampleSession() {
  if (!closed_) close();
  // All slots: a handler that was not waited for may have left one that is not in the set yet.
  for (std::size_t i = 0; i < channel_.tables().samples.size(); ++i) {
    (void)take(i, [](const sigsafe::Slot&) {});
  }
  sigsafe::Session& session = channel_.tables().sessions[index_];
  if (session.writers.load() == 0) session.generation.store(0);
}

std::uint64_t SampleSession::signal_value() const {
  return sigsafe::pack_value({index_, generation_});
}

void SampleSession::close() {
  closed_ = true;
  sigsafe::Session& session = channel_.tables().sessions[index_];
  session.generation.store(kReserved);
  const auto until = std::chrono::steady_clock::now() + kWritersLeaveWithin;
  while (session.writers.load() != 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
}

std::uint64_t SampleSession::lost() const { return channel_.tables().sessions[index_].lost.load(); }

}  // namespace vigil::sampler
