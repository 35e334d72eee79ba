// UniqueFd: owns a file descriptor and closes it once.
#pragma once

#include <unistd.h>

#include <utility>

namespace vigil {

// Movable, not copyable; -1 is "none". Closing ignores errors: after EINTR on Linux the descriptor
// is gone (close(2)). errno is kept by the destructor, so it can be read after a guard went out of
// scope.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Gives the descriptor to the caller, who closes it.
  int release() { return std::exchange(fd_, -1); }

  // Closes what it owns, if anything, and owns `fd` from now on.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

}  // namespace vigil
