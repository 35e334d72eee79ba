// Reading our own memory without the risk of a fault, from a signal handler too.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vigil::sampler::sigsafe {

// Copies the longest readable prefix of `bytes` bytes at `address` to `into`; returns its length.
// process_vm_readv(2) on ourselves; see sampler/memory_reader.h for why and what it costs.
std::size_t copy_memory(std::uintptr_t address, void* into, std::size_t bytes) noexcept;

}  // namespace vigil::sampler::sigsafe
