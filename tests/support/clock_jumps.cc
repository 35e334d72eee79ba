#include "tests/support/clock_jumps.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

#include "base/fd.h"

namespace vigil::test {

ClockJumps::ClockJumps() {
  const UniqueFd file(::open((folder_ / "offsets").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), sizeof(ClockOffsets)) != 0) {
    throw std::runtime_error("no file for the clocks");
  }
  void* const page =
      ::mmap(nullptr, sizeof(ClockOffsets), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) throw std::runtime_error("no page for the clocks");
  offsets_ = static_cast<ClockOffsets*>(page);
}

ClockJumps::~ClockJumps() { ::munmap(offsets_, sizeof(ClockOffsets)); }

std::map<std::string, std::string> ClockJumps::environment() const {
  return {{"LD_PRELOAD", VIGIL_CLOCK_LIBRARY}, {kClockOffsetsVariable, folder_ / "offsets"}};
}

}  // namespace vigil::test
