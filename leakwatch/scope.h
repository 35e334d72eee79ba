// Scopes: on whose behalf the calling thread works, so that a leak is charged to who began it.
//
//   const ScopeId test = new_scope();
//   ScopeGuard guard(test);              // from here on, what this thread begins belongs to `test`
//
// A scope is a number in thread-local storage. A Task hands its own to a task that names it as its
// parent, also on another thread; where vigil::creation_stacks is linked, a thread starts in the
// scope of the thread that created it. Nothing else moves it.
#pragma once

#include <atomic>
#include <cstdint>

namespace vigil::leakwatch {

// 0: nobody's. Never used twice in a process.
enum class ScopeId : std::uint32_t { kNone = 0 };

namespace internal {
inline constinit thread_local ScopeId current_scope_id = ScopeId::kNone;
inline constinit std::atomic<std::uint32_t> scopes_made{0};
}  // namespace internal

// The calling thread's. A load.
inline ScopeId current_scope() noexcept { return internal::current_scope_id; }
inline void set_current_scope(ScopeId scope) noexcept { internal::current_scope_id = scope; }

// A scope that nobody has yet. Thread-safe.
inline ScopeId new_scope() noexcept {
  return ScopeId{internal::scopes_made.fetch_add(1, std::memory_order_relaxed) + 1};
}

// The calling thread is in `scope` until the guard ends, on the same thread.
class ScopeGuard {
 public:
  explicit ScopeGuard(ScopeId scope) : outer_(current_scope()) { set_current_scope(scope); }
  ~ScopeGuard() { set_current_scope(outer_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  ScopeId outer_;
};

}  // namespace vigil::leakwatch
