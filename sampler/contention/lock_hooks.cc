// The interposed functions: pthread mutexes, rwlocks, condition variables, semaphores, joins.
//
// Switched off, each is one load, one branch that is never taken, and a jump to the original. On, a
// lock is tried first: only one that is taken costs more. The tries change nothing that a program
// can see: POSIX gives trylock the results of lock in every case but EBUSY, and then lock is
// called.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "sampler/contention/original.h"
#include "sampler/contention/wait_recorder.h"

extern "C" {
// Whether a program has these hooks: sampler/contention_profiler.cc refers to it weakly.
extern const char vigil_contention_hooks;
const char vigil_contention_hooks = 1;
}

// The C library's own second names of some functions. Only the binary interface of old programs has
// them, so they are asked for with their version.
#define VIGIL_LIBC_NAME(name, Object)                 \
  extern "C" int vigil_libc_##name(Object*) noexcept; \
  asm(".symver vigil_libc_" #name ", __pthread_" #name "@GLIBC_2.2.5")
VIGIL_LIBC_NAME(mutex_lock, pthread_mutex_t);
VIGIL_LIBC_NAME(mutex_trylock, pthread_mutex_t);
VIGIL_LIBC_NAME(mutex_unlock, pthread_mutex_t);
VIGIL_LIBC_NAME(rwlock_rdlock, pthread_rwlock_t);
VIGIL_LIBC_NAME(rwlock_tryrdlock, pthread_rwlock_t);
VIGIL_LIBC_NAME(rwlock_wrlock, pthread_rwlock_t);
VIGIL_LIBC_NAME(rwlock_trywrlock, pthread_rwlock_t);
VIGIL_LIBC_NAME(rwlock_unlock, pthread_rwlock_t);

namespace vigil::sampler::contention {
namespace {

// The tag `Name` of the function `function`.
#define VIGIL_ORIGINAL(Name, function, signature, fallback) \
  struct Name : Original<Name, signature> {                 \
    static constexpr const char* kName = #function;         \
    static constexpr Function kFallback = fallback;         \
  }

using Mutex = pthread_mutex_t;
using Rwlock = pthread_rwlock_t;
using Condition = pthread_cond_t;
using Time = const timespec;

VIGIL_ORIGINAL(MutexLock, pthread_mutex_lock, int(Mutex*) noexcept, vigil_libc_mutex_lock);
VIGIL_ORIGINAL(MutexTry, pthread_mutex_trylock, int(Mutex*) noexcept, vigil_libc_mutex_trylock);
VIGIL_ORIGINAL(MutexUnlock, pthread_mutex_unlock, int(Mutex*) noexcept, vigil_libc_mutex_unlock);
VIGIL_ORIGINAL(MutexTimed, pthread_mutex_timedlock, int(Mutex*, Time*) noexcept, nullptr);
VIGIL_ORIGINAL(MutexClock, pthread_mutex_clocklock, int(Mutex*, clockid_t, Time*) noexcept,
               nullptr);
VIGIL_ORIGINAL(ReadLock, pthread_rwlock_rdlock, int(Rwlock*) noexcept, vigil_libc_rwlock_rdlock);
VIGIL_ORIGINAL(ReadTry, pthread_rwlock_tryrdlock, int(Rwlock*) noexcept,
               vigil_libc_rwlock_tryrdlock);
VIGIL_ORIGINAL(ReadTimed, pthread_rwlock_timedrdlock, int(Rwlock*, Time*) noexcept, nullptr);
VIGIL_ORIGINAL(ReadClock, pthread_rwlock_clockrdlock, int(Rwlock*, clockid_t, Time*) noexcept,
               nullptr);
VIGIL_ORIGINAL(WriteLock, pthread_rwlock_wrlock, int(Rwlock*) noexcept, vigil_libc_rwlock_wrlock);
VIGIL_ORIGINAL(WriteTry, pthread_rwlock_trywrlock, int(Rwlock*) noexcept,
               vigil_libc_rwlock_trywrlock);
VIGIL_ORIGINAL(WriteTimed, pthread_rwlock_timedwrlock, int(Rwlock*, Time*) noexcept, nullptr);
VIGIL_ORIGINAL(WriteClock, pthread_rwlock_clockwrlock, int(Rwlock*, clockid_t, Time*) noexcept,
               nullptr);
VIGIL_ORIGINAL(RwUnlock, pthread_rwlock_unlock, int(Rwlock*) noexcept, vigil_libc_rwlock_unlock);
VIGIL_ORIGINAL(ConditionWait, pthread_cond_wait, int(Condition*, Mutex*), nullptr);
VIGIL_ORIGINAL(ConditionTimed, pthread_cond_timedwait, int(Condition*, Mutex*, Time*), nullptr);
VIGIL_ORIGINAL(ConditionClock, pthread_cond_clockwait, int(Condition*, Mutex*, clockid_t, Time*),
               nullptr);
VIGIL_ORIGINAL(SemaphoreWait, sem_wait, int(sem_t*), nullptr);
VIGIL_ORIGINAL(SemaphoreTry, sem_trywait, int(sem_t*), nullptr);
VIGIL_ORIGINAL(SemaphoreTimed, sem_timedwait, int(sem_t*, Time*), nullptr);
VIGIL_ORIGINAL(SemaphoreClock, sem_clockwait, int(sem_t*, clockid_t, Time*), nullptr);
VIGIL_ORIGINAL(Join, pthread_join, int(pthread_t, void**), nullptr);
VIGIL_ORIGINAL(JoinTimed, pthread_timedjoin_np, int(pthread_t, void**, Time*), nullptr);
VIGIL_ORIGINAL(JoinClock, pthread_clockjoin_np, int(pthread_t, void**, clockid_t, Time*), nullptr);

// A macro, because the address that stands for a hook in profiles is that of its first instruction:
// inlined functions there would be shown as its callees.
#define VIGIL_IS_OFF() __builtin_expect(__atomic_load_n(&gate_rate_ns, __ATOMIC_RELAXED) == 0, 1)

// A hook and where it was called from. Passed by value, in two registers: an object in the hook's own
// frame would keep its last call from being a jump.
struct Call {
  std::uintptr_t hook;
  std::uintptr_t caller;
  Site at(WaitKind kind) const noexcept { return {kind, hook, caller}; }
};

// Each of these is what a hook does when the switch is on; out of its way.

template <WaitKind kKind, typename Try, typename Lock, typename Object, typename... Deadline>
__attribute__((noinline)) int lock_timed(const Call call, Object* object,
                                         Deadline... deadline) noexcept {
  if (HookGuard::inside()) return Lock::call(object, deadline...);
  const int tried = Try::call(object);
  if (tried != EBUSY) return tried;
  const WaitScope wait(call.at(kKind), object);
  return Lock::call(object, deadline...);
}

template <typename Unlock, typename Object>
__attribute__((noinline)) int unlock_charged(const Call call, Object* object) noexcept {
  if (HookGuard::inside()) return Unlock::call(object);
  const Charge charge = charge_holder(object);
  // Afterwards the lock may be gone: only its address was used.
  const int result = Unlock::call(object);
  record_holder(call.at(WaitKind::kHolder), charge);
  return result;
}

// Waiting for a condition lets the mutex go, without pthread_mutex_unlock.
template <typename Wait, typename... Deadline>
__attribute__((noinline)) int wait_timed(const Call call, Condition* condition, Mutex* mutex,
                                         Deadline... deadline) {
  if (HookGuard::inside()) return Wait::call(condition, mutex, deadline...);
  if (may_keep_waiting(mutex)) record_holder(call.at(WaitKind::kHolder), charge_holder(mutex));
  const WaitScope wait(call.at(WaitKind::kCondition), nullptr);
  return Wait::call(condition, mutex, deadline...);
}

template <typename Wait, typename... Deadline>
__attribute__((noinline)) int semaphore_timed(const Call call, sem_t* semaphore,
                                              Deadline... deadline) {
  if (HookGuard::inside()) return Wait::call(semaphore, deadline...);
  const int saved_errno = errno;
  if (SemaphoreTry::call(semaphore) == 0) return 0;
  errno = saved_errno;
  const WaitScope wait(call.at(WaitKind::kSemaphore), nullptr);
  return Wait::call(semaphore, deadline...);
}

template <typename Wait, typename... Deadline>
__attribute__((noinline)) int join_timed(const Call call, pthread_t thread, void** result,
                                         Deadline... deadline) {
  if (HookGuard::inside()) return Wait::call(thread, result, deadline...);
  const WaitScope wait(call.at(WaitKind::kJoin), nullptr);
  return Wait::call(thread, result, deadline...);
}

}  // namespace
}  // namespace vigil::sampler::contention

using namespace vigil::sampler::contention;  // NOLINT: the file's own

#define VIGIL_HOOK extern "C" __attribute__((visibility("default")))
// To be evaluated in the hook `function`.
#define VIGIL_CALL(function)                                          \
  Call {                                                              \
    reinterpret_cast<std::uintptr_t>(function),                       \
        reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) \
  }

VIGIL_HOOK int pthread_mutex_lock(Mutex* mutex) noexcept {
  if (VIGIL_IS_OFF()) return MutexLock::call(mutex);
  return lock_timed<WaitKind::kMutex, MutexTry, MutexLock>(VIGIL_CALL(pthread_mutex_lock), mutex);
}
VIGIL_HOOK int pthread_mutex_timedlock(Mutex* mutex, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return MutexTimed::call(mutex, until);
  return lock_timed<WaitKind::kMutex, MutexTry, MutexTimed>(VIGIL_CALL(pthread_mutex_timedlock),
                                                            mutex, until);
}
VIGIL_HOOK int pthread_mutex_clocklock(Mutex* mutex, clockid_t clock, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return MutexClock::call(mutex, clock, until);
  return lock_timed<WaitKind::kMutex, MutexTry, MutexClock>(VIGIL_CALL(pthread_mutex_clocklock),
                                                            mutex, clock, until);
}
VIGIL_HOOK int pthread_mutex_unlock(Mutex* mutex) noexcept {
  if (VIGIL_IS_OFF() || !may_keep_waiting(mutex)) return MutexUnlock::call(mutex);
  return unlock_charged<MutexUnlock>(VIGIL_CALL(pthread_mutex_unlock), mutex);
}

VIGIL_HOOK int pthread_rwlock_rdlock(Rwlock* rwlock) noexcept {
  if (VIGIL_IS_OFF()) return ReadLock::call(rwlock);
  return lock_timed<WaitKind::kRwlock, ReadTry, ReadLock>(VIGIL_CALL(pthread_rwlock_rdlock),
                                                          rwlock);
}
VIGIL_HOOK int pthread_rwlock_timedrdlock(Rwlock* rwlock, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return ReadTimed::call(rwlock, until);
  return lock_timed<WaitKind::kRwlock, ReadTry, ReadTimed>(VIGIL_CALL(pthread_rwlock_timedrdlock),
                                                           rwlock, until);
}
VIGIL_HOOK int pthread_rwlock_clockrdlock(Rwlock* rwlock, clockid_t clock, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return ReadClock::call(rwlock, clock, until);
  return lock_timed<WaitKind::kRwlock, ReadTry, ReadClock>(VIGIL_CALL(pthread_rwlock_clockrdlock),
                                                           rwlock, clock, until);
}
VIGIL_HOOK int pthread_rwlock_wrlock(Rwlock* rwlock) noexcept {
  if (VIGIL_IS_OFF()) return WriteLock::call(rwlock);
  return lock_timed<WaitKind::kRwlock, WriteTry, WriteLock>(VIGIL_CALL(pthread_rwlock_wrlock),
                                                            rwlock);
}
VIGIL_HOOK int pthread_rwlock_timedwrlock(Rwlock* rwlock, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return WriteTimed::call(rwlock, until);
  return lock_timed<WaitKind::kRwlock, WriteTry, WriteTimed>(VIGIL_CALL(pthread_rwlock_timedwrlock),
                                                             rwlock, until);
}
VIGIL_HOOK int pthread_rwlock_clockwrlock(Rwlock* rwlock, clockid_t clock, Time* until) noexcept {
  if (VIGIL_IS_OFF()) return WriteClock::call(rwlock, clock, until);
  return lock_timed<WaitKind::kRwlock, WriteTry, WriteClock>(VIGIL_CALL(pthread_rwlock_clockwrlock),
                                                             rwlock, clock, until);
}
VIGIL_HOOK int pthread_rwlock_unlock(Rwlock* rwlock) noexcept {
  if (VIGIL_IS_OFF() || !may_keep_waiting(rwlock)) return RwUnlock::call(rwlock);
  return unlock_charged<RwUnlock>(VIGIL_CALL(pthread_rwlock_unlock), rwlock);
}

VIGIL_HOOK int pthread_cond_wait(Condition* condition, Mutex* mutex) {
  if (VIGIL_IS_OFF()) return ConditionWait::call(condition, mutex);
  return wait_timed<ConditionWait>(VIGIL_CALL(pthread_cond_wait), condition, mutex);
}
VIGIL_HOOK int pthread_cond_timedwait(Condition* condition, Mutex* mutex, Time* until) {
  if (VIGIL_IS_OFF()) return ConditionTimed::call(condition, mutex, until);
  return wait_timed<ConditionTimed>(VIGIL_CALL(pthread_cond_timedwait), condition, mutex, until);
}
VIGIL_HOOK int pthread_cond_clockwait(Condition* condition, Mutex* mutex, clockid_t clock,
                                      Time* until) {
  if (VIGIL_IS_OFF()) return ConditionClock::call(condition, mutex, clock, until);
  return wait_timed<ConditionClock>(VIGIL_CALL(pthread_cond_clockwait), condition, mutex, clock,
                                    until);
}

VIGIL_HOOK int sem_wait(sem_t* semaphore) {
  if (VIGIL_IS_OFF()) return SemaphoreWait::call(semaphore);
  return semaphore_timed<SemaphoreWait>(VIGIL_CALL(sem_wait), semaphore);
}
VIGIL_HOOK int sem_timedwait(sem_t* semaphore, Time* until) {
  if (VIGIL_IS_OFF()) return SemaphoreTimed::call(semaphore, until);
  return semaphore_timed<SemaphoreTimed>(VIGIL_CALL(sem_timedwait), semaphore, until);
}
VIGIL_HOOK int sem_clockwait(sem_t* semaphore, clockid_t clock, Time* until) {
  if (VIGIL_IS_OFF()) return SemaphoreClock::call(semaphore, clock, until);
  return semaphore_timed<SemaphoreClock>(VIGIL_CALL(sem_clockwait), semaphore, clock, until);
}

VIGIL_HOOK int pthread_join(pthread_t thread, void** result) {
  if (VIGIL_IS_OFF()) return Join::call(thread, result);
  return join_timed<Join>(VIGIL_CALL(pthread_join), thread, result);
}
VIGIL_HOOK int pthread_timedjoin_np(pthread_t thread, void** result, Time* until) {
  if (VIGIL_IS_OFF()) return JoinTimed::call(thread, result, until);
  return join_timed<JoinTimed>(VIGIL_CALL(pthread_timedjoin_np), thread, result, until);
}
VIGIL_HOOK int pthread_clockjoin_np(pthread_t thread, void** result, clockid_t clock, Time* until) {
  if (VIGIL_IS_OFF()) return JoinClock::call(thread, result, clock, until);
  return join_timed<JoinClock>(VIGIL_CALL(pthread_clockjoin_np), thread, result, clock, until);
}
