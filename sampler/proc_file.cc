#include "sampler/proc_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"

namespace vigil::sampler {
namespace {

Error gone_or(const char* path, int error) {
  if (error == ESRCH || error == ENOENT) {
    return Error(ErrorCode::kNotFound, std::string(path) + ": gone");
  }
  return Error::from_errno(path, error);
}

}  // namespace

Result<std::string> read_proc_file(const char* path, std::size_t bytes_max) {
  constexpr std::size_t kChunk = 4096;
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return gone_or(path, errno);
  std::string text;
  std::size_t used = 0;
  while (used < bytes_max) {
    // Grows by half: maps of a large program is megabytes, and the kernel gives a page at a time.
    text.resize(std::min(bytes_max, std::max(used + kChunk, used + used / 2)));
    const ssize_t got = read(fd.get(), text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return gone_or(path, errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  text.resize(used);
  return text;
}

}  // namespace vigil::sampler
