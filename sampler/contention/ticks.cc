#include "sampler/contention/ticks.h"

#include <time.h>

#include "sampler/proc_file.h"

namespace vigil::sampler::contention {
namespace {

constexpr const char* kClockSource =
    "/sys/devices/system/clocksource/clocksource0/current_clocksource";

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace

TickScale::TickScale() {
  constexpr std::size_t kNameMax = 64;
  const auto source = read_proc_file(kClockSource, kNameMax);
  is_trusted_ = source && *source == "tsc\n";
  begin_ns_ = monotonic_ns();
  begin_ticks_ = ticks_now();
}

void TickScale::step() {
  if (!is_trusted_) return;
  const std::int64_t ns = monotonic_ns() - begin_ns_;
  const std::uint64_t ticks = ticks_now() - begin_ticks_;
  if (ns < kMeasureNs || ticks == 0) return;
  const auto scaled = static_cast<unsigned __int128>(ns) << 32;
  ns_per_tick.store(static_cast<std::uint64_t>(scaled / ticks), std::memory_order_relaxed);
}

}  // namespace vigil::sampler::contention
