// How many threads and open descriptors this process has, and may have. Thread-safe. 0 where /proc is
// hidden.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vigil {

// One system call.
std::uint64_t count_threads();

// One system call where the kernel keeps count (Linux 6.2), else a listing of /proc/self/fd, some
// 0.3 us a descriptor.
std::uint64_t count_descriptors();

// How many of `wanted` descriptors may be kept back without taking them from the program: at most a
// 32nd of its limit (RLIMIT_NOFILE), none of a limit of ten. One system call.
std::size_t spare_descriptors(std::size_t wanted);

}  // namespace vigil
