// The function that an interposed one stands in front of: the C library's, or that of the next
// library which interposes it too.
//
//   struct MutexLock : Original<MutexLock, int(pthread_mutex_t*) noexcept> {
//     static constexpr const char* kName = "pthread_mutex_lock";
//     static constexpr Function kFallback = nullptr;
//   };
//   return MutexLock::call(mutex);          // one load and a jump
//
// Looked up with dlsym(RTLD_NEXT) at the first call, which may be before any constructor has run.
// dlsym(3) itself may allocate, and an allocator may lock: such a call from inside the look-up gets
// kFallback, the C library's own second name of the function, where there is one.
#pragma once

#include <atomic>

namespace vigil::sampler::contention {

// The next definition of `name`; null while the calling thread is in here already. Ends the process
// with a message if there is none: the program cannot go on without its locks.
void* find_original(const char* name) noexcept;

template <typename Tag, typename Signature>
class Original;

// Where the function is noexcept, call() is, and can be a jump.
template <typename Tag, bool kNoexcept, typename... Arguments>
class __attribute__((visibility("hidden"))) Original<Tag, int(Arguments...) noexcept(kNoexcept)> {
 public:
  using Function = int (*)(Arguments...) noexcept(kNoexcept);

  __attribute__((always_inline)) static int call(Arguments... arguments) noexcept(kNoexcept) {
    return function_.load(std::memory_order_relaxed)(arguments...);
  }

 private:
  static int look_up(Arguments... arguments) noexcept(kNoexcept) {
    if (void* found = find_original(Tag::kName)) {
      const auto function = reinterpret_cast<Function>(found);
      function_.store(function, std::memory_order_relaxed);
      return function(arguments...);
    }
    if constexpr (Tag::kFallback != nullptr) return Tag::kFallback(arguments...);
    __builtin_trap();  // dlsym has called a function that waits
  }

  static constinit inline std::atomic<Function> function_{&look_up};
};

}  // namespace vigil::sampler::contention
