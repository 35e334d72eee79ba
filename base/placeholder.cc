#include "base/placeholder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vigil {
namespace {

// Linux's numbers for /dev/null (Documentation/admin-guide/devices.txt).
constexpr unsigned kNullMajor = 1;
constexpr unsigned kNullMinor = 3;

}  // namespace

UniqueFd take_placeholder() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

void drop_placeholder(UniqueFd placeholder) {
  struct stat found {};
  const bool ours = fstat(placeholder.get(), &found) == 0 && S_ISCHR(found.st_mode) &&
                    found.st_rdev == makedev(kNullMajor, kNullMinor);
  if (!ours) (void)placeholder.release();
}

}  // namespace vigil
