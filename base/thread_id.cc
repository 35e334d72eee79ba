#include "base/thread_id.h"

#include <pthread.h>
#include <unistd.h>

#include <mutex>

namespace vigil {
namespace {

constinit thread_local pid_t remembered = 0;
std::once_flag forget_after_fork;

}  // namespace

pid_t current_thread_id() noexcept {
  if (remembered == 0) {
    std::call_once(forget_after_fork,
                   [] { pthread_atfork(nullptr, nullptr, [] { remembered = 0; }); });
    remembered = ::gettid();
  }
  return remembered;
}

}  // namespace vigil
