// Reading small files of /proc in one go.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace vigil::sampler {

// /proc/self/maps of a program with some 300,000 mappings; longer is cut.
inline constexpr std::size_t kMapsBytesMax = 32 * 1024 * 1024;

// The file's content, at most `bytes_max`. Errors: from open(2) and read(2); a thread or process
// that is gone (ENOENT, ESRCH) is not_found. Thread-safe. Uses a descriptor for its duration
// (O_CLOEXEC).
Result<std::string> read_proc_file(const char* path, std::size_t bytes_max);

}  // namespace vigil::sampler
