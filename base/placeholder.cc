#include "base/placeholder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <utility>

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

Placeholders::Placeholders(std::size_t wanted) : missing_(wanted) { held_.reserve(wanted); }

void Placeholders::restock() {
  std::lock_guard lock(mutex_);
  while (missing_.load() > 0) {
    UniqueFd next = take_placeholder();
    if (!next) return;
    held_.push_back(std::move(next));
    missing_.fetch_sub(1);
  }
}

void Placeholders::give_last() {
  drop_placeholder(std::move(held_.back()));
  held_.pop_back();
  missing_.fetch_add(1);
}

bool Placeholders::give_one() {
  std::lock_guard lock(mutex_);
  if (held_.empty()) return false;
  give_last();
  return true;
}

void Placeholders::give_all() {
  std::lock_guard lock(mutex_);
  while (!held_.empty()) give_last();
}

std::size_t Placeholders::held() const {
  std::lock_guard lock(mutex_);
  return held_.size();
}

}  // namespace vigil
