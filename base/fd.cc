#include "base/fd.h"

#include <cerrno>

namespace vigil {

void UniqueFd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old < 0 || old == fd) return;
  const int saved = errno;
  ::close(old);
  errno = saved;
}

}  // namespace vigil
