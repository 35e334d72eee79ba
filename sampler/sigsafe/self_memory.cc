#include "sampler/sigsafe/self_memory.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include "sampler/sigsafe/raw_syscall.h"

namespace vigil::sampler::sigsafe {

std::size_t copy_memory(std::uintptr_t address, void* into, std::size_t bytes) noexcept {
  if (bytes == 0 || address + bytes < address) return 0;
  iovec local{into, bytes};
  iovec remote{reinterpret_cast<void*>(address), bytes};
  // The caller's process id, not a remembered one: after a fork the parent's memory would be read.
  const long pid = raw_syscall(SYS_getpid);
  const long copied = raw_syscall(SYS_process_vm_readv, pid, reinterpret_cast<long>(&local), 1,
                                  reinterpret_cast<long>(&remote), 1, 0);
  return copied < 0 ? 0 : static_cast<std::size_t>(copied);
}

}  // namespace vigil::sampler::sigsafe
