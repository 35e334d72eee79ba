// What a descriptor of another thread is open on.
//
//   if (const auto about = descriptor_status(fd); about && S_ISSOCK(about->st_mode)) …
//
// As fstat(2) says it, but of its link in /proc/self/fd. The owner may be closing the descriptor at
// that moment, and ThreadSanitizer takes a call on it for a race with that; of the link it is none,
// and the answer is as good: of a descriptor that is closed and used again it is about the new file.
#pragma once

#include <sys/stat.h>

#include <optional>

namespace vigil::sampler {

// Nothing if `fd` is not open, or /proc cannot be read. Thread-safe, allocates nothing; about 1 us.
std::optional<struct stat> descriptor_status(int fd) noexcept;

}  // namespace vigil::sampler
