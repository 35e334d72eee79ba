#include "base/process_counts.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

namespace vigil {

// A folder has a link for each folder in it, beside its own two names.
std::uint64_t count_threads() {
  struct stat about {};
  if (::stat("/proc/self/task", &about) != 0 || about.st_nlink < 2) return 0;
  return about.st_nlink - 2;
}

std::uint64_t count_descriptors() {
  struct stat about {};
  if (::stat("/proc/self/fd", &about) == 0 && about.st_size > 0) {
    return static_cast<std::uint64_t>(about.st_size);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (folder == nullptr) return 0;
  std::uint64_t count = 0;
  while (const dirent* entry = ::readdir(folder.get())) count += entry->d_name[0] != '.';
  return count > 0 ? count - 1 : 0;  // without the folder's own
}

std::size_t spare_descriptors(std::size_t wanted) {
  constexpr rlim_t kShare = 32;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<std::size_t>(std::min<rlim_t>(wanted, limit.rlim_cur / kShare));
}

}  // namespace vigil
