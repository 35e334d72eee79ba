#include "agent/demo/work.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <thread>
#include <utility>

// Out of line, and not cloned: a clone would show up under a name of its own.
#ifdef __clang__  // has no noclone, and makes no clones
#define VIGIL_DEMO_VISIBLE __attribute__((noinline))
#else
#define VIGIL_DEMO_VISIBLE __attribute__((noinline, noclone))
#endif

namespace demo {
namespace {

using vigil::Duration;

Duration thread_cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec);
}

timespec to_timespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {static_cast<time_t>(seconds.count()), static_cast<long>((duration - seconds).count())};
}

// A different sequence in every thread.
std::mt19937_64& random_numbers() {
  thread_local std::mt19937_64 generator(std::random_device{}());
  return generator;
}

}  // namespace

// Between two looks at the clock each does some 50 us of work, so the clock's own cost does not
// show.

VIGIL_DEMO_VISIBLE std::uint64_t checksum(Duration budget) {
  const Duration end = thread_cpu_time() + budget;
  std::uint64_t sum = 0x9E3779B97F4A7C15;
  while (thread_cpu_time() < end) {
    // FNV-1a over counted bytes.
    for (std::uint32_t i = 0; i < 40'000; ++i) sum = (sum ^ (i & 0xFF)) * 0x100000001B3;
  }
  return sum;
}

VIGIL_DEMO_VISIBLE std::uint64_t compress(Duration budget) {
  const Duration end = thread_cpu_time() + budget;
  std::array<std::uint16_t, 1024> last_seen{};
  std::uint64_t matches = 0;
  std::uint32_t text = 1;
  while (thread_cpu_time() < end) {
    // The match finder of an LZ compressor over pseudo-random text.
    for (std::uint32_t i = 0; i < 15'000; ++i) {
      text = text * 1'664'525 + 1'013'904'223;
      std::uint16_t& slot = last_seen[text >> 22];
      matches += static_cast<std::uint16_t>(i - slot) < 512;
      slot = static_cast<std::uint16_t>(i);
    }
  }
  return matches;
}

VIGIL_DEMO_VISIBLE std::uint64_t burn(Duration total) {
  const Duration first = total * 3 / 4;
  const auto offset = Duration(std::uniform_int_distribution<std::int64_t>(
      0, std::max<std::int64_t>(total.count(), 1))(random_numbers()));
  if (offset < first) {
    const std::uint64_t head = checksum(first - offset);
    return head ^ compress(total - first) ^ checksum(offset);
  }
  const std::uint64_t head = compress(total - offset);
  return head ^ checksum(first) ^ compress(offset - first);
}

VIGIL_DEMO_VISIBLE std::size_t remember(Memory& memory, std::size_t bytes) {
  constexpr std::size_t kBlock = 64 * 1024;
  std::lock_guard lock(memory.mutex);
  for (std::size_t left = bytes; left > 0;) {
    const std::size_t size = std::min(left, kBlock);
    memory.blocks.emplace_back(size, '\1');
    left -= size;
  }
  return memory.bytes += bytes;
}

std::size_t forget(Memory& memory) {
  std::lock_guard lock(memory.mutex);
  memory.blocks.clear();
  memory.blocks.shrink_to_fit();
  return std::exchange(memory.bytes, 0);
}

VIGIL_DEMO_VISIBLE void churn(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    auto block = std::make_unique_for_overwrite<char[]>(16 + i % 64 * 16);
    // Written through a volatile pointer: an unused allocation may be left out.
    *static_cast<volatile char*>(block.get()) = 1;
  }
}

VIGIL_DEMO_VISIBLE bool wait_upstream(Duration duration) {
  const timespec time = to_timespec(duration);
  const bool slept = nanosleep(&time, nullptr) == 0;
  return slept;
}

VIGIL_DEMO_VISIBLE void wait_forever(Gate& gate) {
  std::unique_lock lock(gate.mutex);
  const std::uint64_t opened = gate.opened;
  ++gate.waiting;
  gate.released.wait(lock, [&] { return gate.opened != opened; });
  --gate.waiting;
}

std::size_t release_all(Gate& gate) {
  std::lock_guard lock(gate.mutex);
  ++gate.opened;
  gate.released.notify_all();
  return gate.waiting;
}

VIGIL_DEMO_VISIBLE void update_inventory(std::mutex& inventory, Duration duration) {
  std::lock_guard lock(inventory);
  std::this_thread::sleep_for(duration);
}

VIGIL_DEMO_VISIBLE void lock_both(std::mutex& first, std::mutex& second) {
  std::lock_guard first_lock(first);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::lock_guard second_lock(second);
}

}  // namespace demo
