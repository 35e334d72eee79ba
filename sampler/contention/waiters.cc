#include "sampler/contention/waiters.h"

#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "sampler/sigsafe/raw_syscall.h"

namespace vigil::sampler::contention {
namespace {

// The weight, as a power of two, that suits a wait.
std::uint8_t weight_bits_for(std::int64_t wait_ns, std::int64_t rate_ns) noexcept {
  if (wait_ns >= kShortWaitNs) return 0;
  std::uint8_t bits = 0;
  while (std::uint32_t{2} << bits <= kShortWeightMax &&
         (std::max<std::int64_t>(wait_ns, 1) << (bits + 3)) <= rate_ns) {
    ++bits;
  }
  return bits;
}

static_assert(WaiterTable::kStripes == std::size_t{1} << (64 - 54));

constexpr int kSpinsMax = 200;

bool try_lock(std::atomic<std::uint32_t>& locked) noexcept {
  for (int spins = 0; spins < kSpinsMax; ++spins) {
    if (locked.load(std::memory_order_relaxed) == 0 &&
        locked.exchange(1, std::memory_order_acquire) == 0) {
      return true;
    }
    __builtin_ia32_pause();
  }
  return false;
}

// Its owner is preempted, perhaps by us with a higher real-time priority: yielding would not let it
// run, sleeping does.
void lock(std::atomic<std::uint32_t>& locked) noexcept {
  while (!try_lock(locked)) {
    const timespec pause{0, 50'000};
    sigsafe::raw_syscall(SYS_nanosleep, reinterpret_cast<long>(&pause), 0);
  }
}

void unlock(std::atomic<std::uint32_t>& locked) noexcept {
  locked.store(0, std::memory_order_release);
}

}  // namespace

WaiterTable::Entry* WaiterTable::find(Stripe& stripe, const void* lock) noexcept {
  for (Entry& entry : stripe.entries) {
    if (entry.lock == lock) return &entry;
  }
  return nullptr;
}

bool WaiterTable::enter(const void* lock, std::int64_t now_ns, std::uint32_t weight) noexcept {
  Stripe& stripe = stripe_of(lock);
  if (!try_lock(stripe.locked)) return false;
  Entry* entry = find(stripe, lock);
  if (entry == nullptr) {
    entry = find(stripe, nullptr);
    if (entry != nullptr) *entry = {.lock = lock, .charged_until_ns = now_ns};
  }
  if (entry != nullptr) {
    entry->waiters += weight;
    entry->since_sum +=
        weight * static_cast<std::uint64_t>(std::max(now_ns, entry->charged_until_ns));
    stripe.waiters.fetch_add(weight, std::memory_order_relaxed);
  }
  unlock(stripe.locked);
  return entry != nullptr;
}

std::int64_t WaiterTable::leave(const void* lock_address, std::int64_t since_ns,
                                std::int64_t now_ns, std::uint32_t weight) noexcept {
  Stripe& stripe = stripe_of(lock_address);
  lock(stripe.locked);
  std::int64_t uncharged = 0;
  if (Entry* entry = find(stripe, lock_address)) {
    const std::int64_t since = std::max(since_ns, entry->charged_until_ns);
    entry->since_sum -= weight * static_cast<std::uint64_t>(since);
    uncharged = weight * std::max<std::int64_t>(now_ns - since, 0);
    entry->waiters -= weight;
    if (entry->waiters == 0) entry->lock = nullptr;
    stripe.waiters.fetch_sub(weight, std::memory_order_relaxed);
  }
  unlock(stripe.locked);
  return uncharged;
}

Charge WaiterTable::charge(const void* lock, std::int64_t now_ns) noexcept {
  Stripe& stripe = stripe_of(lock);
  Charge charge;
  if (!try_lock(stripe.locked)) return charge;
  // A clock read before another thread's, but a charge after it, has nothing to charge.
  if (Entry* entry = find(stripe, lock); entry != nullptr && now_ns > entry->charged_until_ns) {
    charge.waiters = entry->waiters;
    const std::uint64_t all = entry->waiters * static_cast<std::uint64_t>(now_ns);
    charge.delay_ns = std::max<std::int64_t>(static_cast<std::int64_t>(all - entry->since_sum), 0);
    entry->since_sum = all;
    entry->charged_until_ns = now_ns;
  }
  unlock(stripe.locked);
  return charge;
}

void WaiterTable::note_wait(const void* lock, std::int64_t wait_ns, std::int64_t rate_ns) noexcept {
  std::atomic<std::uint8_t>& known = stripe_of(lock).weight_bits;
  const int suits = weight_bits_for(wait_ns, rate_ns);
  const int has = known.load(std::memory_order_relaxed);
  // A weight that followed every wait would itself be what threads write to in turn.
  if (suits > has + 1 || suits < has - 1 || (suits == 0 && has != 0)) {
    known.store(static_cast<std::uint8_t>(suits), std::memory_order_relaxed);
  }
}

void WaiterTable::forget_waits() noexcept {
  for (Stripe& stripe : stripes_) stripe.weight_bits.store(0, std::memory_order_relaxed);
}

std::uint64_t WaiterTable::waiting() const noexcept {
  std::uint64_t total = 0;
  for (const Stripe& stripe : stripes_) total += stripe.waiters.load(std::memory_order_relaxed);
  return total;
}

}  // namespace vigil::sampler::contention
