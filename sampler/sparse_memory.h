// Tables that are large, and of which little is ever used: address space now, memory where it is written.
//
//   void* const memory = map_sparse(32 << 20);
//   if (memory == nullptr) return Error::from_errno("mmap of the slots", errno);
//
// Where the system gives huge pages unasked (transparent_hugepage/enabled is "always", as on Debian), one byte written would
// make 2 MiB of memory: these have none.
#pragma once

#include <cstddef>

namespace vigil::sampler {

// A private mapping of zeros, readable and writable; null with errno if there is none. For munmap(2), or for ever.
void* map_sparse(std::size_t bytes) noexcept;

// The same for a global of this program, before it is used. Thread-safe.
void keep_sparse(void* begin, std::size_t bytes) noexcept;

}  // namespace vigil::sampler
