#include "sampler/sparse_memory.h"

#include <sys/mman.h>

#include <cstdint>

namespace vigil::sampler {
namespace {

constexpr std::uintptr_t kPageBytes = 4096;

}  // namespace

void* map_sparse(std::size_t bytes) noexcept {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  keep_sparse(memory, bytes);
  return memory;
}

void keep_sparse(void* begin, std::size_t bytes) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t first = (address + kPageBytes - 1) / kPageBytes * kPageBytes;
  const std::uintptr_t end = (address + bytes) / kPageBytes * kPageBytes;
  // Refused by a kernel without huge pages, which needs it not.
  if (end > first) (void)::madvise(reinterpret_cast<void*>(first), end - first, MADV_NOHUGEPAGE);
}

}  // namespace vigil::sampler
