// The interposed pthread_create: who made which thread.
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sampler/contention/original.h"
#include "sampler/contention/wait_recorder.h"
#include "sampler/sigsafe/raw_syscall.h"

// vigil::creation_stacks, where the program links it (leakwatch/leakcheck/creation_stacks.h): its
// pthread_create has given way to ours, and wants to be the next. Hidden: that of this very program
// or library. From the preloaded agent a program's own would lead back to us for ever.
extern "C" __attribute__((weak, visibility("hidden"))) int vigil_creation_stacks_pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument);

namespace vigil::sampler::contention {
namespace {

struct Create
    : Original<Create, int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) noexcept> {
  static constexpr const char* kName = "pthread_create";
  static constexpr Function kFallback = nullptr;
};

int call_next(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
              void* argument) noexcept {
  if (vigil_creation_stacks_pthread_create != nullptr) {
    return vigil_creation_stacks_pthread_create(thread, attributes, start, argument);
  }
  return Create::call(thread, attributes, start, argument);
}

// Ends in a jump (-O2): the thread's stack looks as if it had not been here.
void* begin_thread(void* argument) {
  ThreadRecord& record = *static_cast<ThreadRecord*>(argument);
  void* (*const start)(void*) = record.start;
  void* const start_argument = record.argument;
  // The key's destructor forgets the thread at its end, however it comes: by returning,
  // pthread_exit(3) or cancellation.
  ::pthread_setspecific(tables.load(std::memory_order_acquire)->thread_key, &record);
  record.tid.store(static_cast<std::int32_t>(sigsafe::raw_syscall(SYS_gettid)),
                   std::memory_order_release);
  return start(start_argument);
}

__attribute__((noinline)) int create_recorded(const Site& site, pthread_t* thread,
                                              const pthread_attr_t* attributes,
                                              void* (*start)(void*), void* argument) noexcept {
  ThreadRecord* const record = HookGuard::inside() ? nullptr : record_creation(site);
  if (record == nullptr) return call_next(thread, attributes, start, argument);
  record->start = start;
  record->argument = argument;
  const int result = call_next(thread, attributes, begin_thread, record);
  if (result != 0) forget_thread(*record);
  return result;
}

}  // namespace
}  // namespace vigil::sampler::contention

extern "C" __attribute__((visibility("default"))) int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
    void* argument) noexcept {
  using namespace vigil::sampler::contention;  // NOLINT: one function's
  if (__atomic_load_n(&gate_threads, __ATOMIC_RELAXED) == 0) {
    return call_next(thread, attributes, start, argument);
  }
  return create_recorded({WaitKind::kThread, reinterpret_cast<std::uintptr_t>(pthread_create),
                          reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))},
                         thread, attributes, start, argument);
}
