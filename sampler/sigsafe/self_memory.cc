#include "sampler/sigsafe/self_memory.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include "sampler/sigsafe/raw_syscall.h"

namespace vigil::sampler::sigsafe {

std::size_t copy_memory(std::uintptr_t address, void* into, std::size_t bytes) noexcept {
  if (bytes == 0 || address + bytes < address) return 0;
  iovec local{into, bytes};
  iovec remote{reinterpret_cast<void*>(address), bytes};
  // The caller's own id: after a fork a remembered one would be the parent's, and the process's is
  // its first thread's, which has no memory any more once it has left by pthread_exit(3).
  const long tid = raw_syscall(SYS_gettid);
  const long copied = raw_syscall(SYS_process_vm_readv, tid, reinterpret_cast<long>(&local), 1,
                                  reinterpret_cast<long>(&remote), 1, 0);
  return copied < 0 ? 0 : static_cast<std::size_t>(copied);
}

}  // namespace vigil::sampler::sigsafe
