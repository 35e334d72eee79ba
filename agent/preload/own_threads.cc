#include "agent/preload/own_threads.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>

#include "sampler/proc_thread.h"

extern "C" int __real_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

namespace vigil::preload {
namespace {

// Those that run now: raised and lowered by the thread itself, so that a thread which is listed may not be counted yet,
// or not any more, but never the other way round.
constinit std::atomic<std::size_t> own_threads{0};

// The default of 8 MiB each counts where the address space is limited (RLIMIT_AS).
constexpr std::size_t kStackBytes = 1024 * 1024;

struct Work {
  void* (*run)(void*);
  void* argument;
};

void* run_counted(void* argument) {
  own_threads.fetch_add(1);
  const Work work = *std::unique_ptr<Work>(static_cast<Work*>(argument));
  void* const result = work.run(work.argument);
  own_threads.fetch_sub(1);
  return result;
}

int create(pthread_t* thread, const pthread_attr_t* attributes, Work* work) {
  const int failed = __real_pthread_create(thread, attributes, run_counted, work);
  if (failed != 0) delete work;
  return failed;
}

}  // namespace

bool only_own_threads() {
  const auto first = sampler::read_thread_stat(::getpid());
  if (!first || first->state != 'Z') return false;
  const auto threads = sampler::list_threads();
  return threads && threads->size() - 1 <= own_threads.load();
}

void forget_own_threads() noexcept { own_threads.store(0); }

}  // namespace vigil::preload

extern "C" int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                     void* (*run)(void*), void* argument) {
  using namespace vigil::preload;  // NOLINT: one function's
  auto* const work = new (std::nothrow) Work{run, argument};
  if (work == nullptr) return EAGAIN;
  if (attributes != nullptr) return create(thread, attributes, work);
  pthread_attr_t small;
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, kStackBytes);
  const int result = create(thread, &small, work);
  ::pthread_attr_destroy(&small);
  return result;
}
