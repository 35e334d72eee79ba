#include "sampler/descriptor_status.h"

#include <array>

#include <fmt/format.h>

namespace vigil::sampler {

std::optional<struct stat> descriptor_status(int fd) noexcept {
  std::array<char, sizeof "/proc/self/fd/-2147483648"> link{};
  fmt::format_to_n(link.data(), link.size() - 1, "/proc/self/fd/{}", fd);
  struct stat status {};
  if (::stat(link.data(), &status) != 0) return std::nullopt;
  return status;
}

}  // namespace vigil::sampler
