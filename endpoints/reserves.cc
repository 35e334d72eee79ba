#include "endpoints/reserves.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/placeholder.h"

namespace vigil::endpoints {
namespace {

constexpr std::size_t kPageBytes = 4096;

bool out_of_descriptors() {
  const UniqueFd probe = take_placeholder();
  return !probe && (errno == EMFILE || errno == ENFILE);
}

}  // namespace

Reserves::Reserves(ReservesOptions options) : options_(options), descriptors_(options.descriptors) {
  descriptors_.restock();
  restock_memory();
}

Reserves::~Reserves() { (void)release_memory(); }

Reserves::Loan Reserves::lend_descriptors() {
  std::lock_guard lock(mutex_);
  if (loans_ == 0) {
    descriptors_.restock();  // what an earlier loan did not get back
    if (!out_of_descriptors()) return nullptr;
  }
  ++loans_;
  descriptors_.give_all();
  return Loan(this);
}

void Reserves::end_loan() {
  std::lock_guard lock(mutex_);
  if (--loans_ == 0) descriptors_.restock();
}

bool Reserves::release_memory() {
  std::lock_guard lock(mutex_);
  if (memory_ == nullptr) return false;
  ::munmap(std::exchange(memory_, nullptr), options_.memory_bytes);
  return true;
}

void Reserves::restock_memory() {
  std::lock_guard lock(mutex_);
  if (memory_ != nullptr || options_.memory_bytes == 0) return;
  void* const memory = ::mmap(nullptr, options_.memory_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  // Where the program forks, its children would be larger by the same pages, of use to nobody.
  (void)::madvise(memory, options_.memory_bytes, MADV_WIPEONFORK);
  memory_ = memory;
  // Not left out by the compiler: what is written may be read by others.
  auto* const touched = static_cast<volatile char*>(memory);
  for (std::size_t i = 0; i < options_.memory_bytes; i += kPageBytes) touched[i] = 1;
}

std::size_t Reserves::descriptors_held() const { return descriptors_.held(); }

bool Reserves::memory_held() const {
  std::lock_guard lock(mutex_);
  return memory_ != nullptr;
}

}  // namespace vigil::endpoints
