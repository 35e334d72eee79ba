#include "tests/stress/disturbance.h"

namespace vigil::test {

void Meeting::attend() {
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < 100; ++i) asm volatile("" : "+r"(attended_));
  ++attended_;
}

bool Turn::goes_on() {
  if (stop_.load(std::memory_order_relaxed)) return false;
  rounds_.fetch_add(1, std::memory_order_relaxed);
  meeting_.attend();
  return true;
}

void Turn::expect(bool holds, std::string_view what) {
  if (holds) return;
  faults_.fetch_add(1);
  const std::lock_guard lock(mutex_);
  if (first_fault_.empty()) first_fault_ = what;
}

std::string Turn::first_fault() const {
  const std::lock_guard lock(mutex_);
  return first_fault_;
}

std::span<const Disturbance> disturbances() {
  static constexpr Disturbance kAll[] = {
#if !defined(__SANITIZE_THREAD__)
    // ThreadSanitizer does not see the loader's own lock, and reports its lists as races.
    {"dlopen and dlclose", open_and_close_libraries},
#endif
    {"dl_iterate_phdr", walk_the_loaders_list},
    {"exceptions", throw_and_catch},
    {"malloc and realloc of all sizes", allocate_all_sizes},
    {"threads come and go", create_threads},
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    // g++ 12's sanitizers allocate under locks of their own that a child of fork inherits as they are, and
    // the child hangs in its first malloc (seen by gdb: SizeClassAllocator64::GetFromAllocator).
    {"fork", fork_children},
#endif
    {"vfork and exec", vfork_and_exec},
    {"sigaltstack", switch_to_alternate_stack},
    {"deep recursion", recurse_deeply},
    {"longjmp", jump_out},
    {"siglongjmp out of a handler", jump_out_of_handler},
    {"garbage in the frame pointer", run_without_frame_pointer},
    {"code without unwind tables", run_without_unwind_tables},
#if !defined(__SANITIZE_THREAD__)
    // It delivers a signal at the thread's next call that it intercepts, of which there is none.
    {"signals of its own at 10 kHz", take_own_signals},
#endif
  };
  return kAll;
}

}  // namespace vigil::test
