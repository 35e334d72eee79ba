// Heap sampling for any allocator: defines malloc and its family, counts, and passes everything on to the allocator that
// the program would have had. Linked only by programs that ask for it (vigil::malloc_interpose) and by the preloaded agent;
// see heap_profiler.h. Not together with tcmalloc, whose own sampler does the same for less.
//
// The allocator is found with dlsym(RTLD_NEXT), which may itself allocate: until it has answered, glibc's own entry points
// serve (they are what RTLD_NEXT finds, too, unless another allocator is linked or preloaded; and then it has not been
// asked for anything that this one must free, because every early caller is inside dlsym, which keeps what it got).
//
// operator new is defined too, on top of malloc as the standard's default one is: libstdc++'s would call our malloc
// anyway, and jemalloc's and others' would pass it by.
#include <dlfcn.h>
#include <errno.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "sampler/sigsafe/heap_recorder.h"

extern "C" {
void* __libc_malloc(std::size_t) noexcept;
void __libc_free(void*) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
}

// Named, not anonymous: frames of these are left out of the profiles by their prefix (allocator_frames.cc), and a program
// may have functions of its own called "(anonymous namespace)::allocate".
namespace vigil::sampler::interposed {

namespace recorder = vigil::sampler::sigsafe;

// noexcept, as their entry points are: a function that must end the program when another one throws cannot leave to it by
// a jump, and a call and a return more are a third of what this costs.
struct Allocator {
  void* (*malloc)(std::size_t) noexcept;
  void (*free)(void*) noexcept;
  void* (*calloc)(std::size_t, std::size_t) noexcept;
  void* (*realloc)(void*, std::size_t) noexcept;
  void* (*aligned_alloc)(std::size_t, std::size_t) noexcept;
};

void* first_malloc(std::size_t) noexcept;
void first_free(void*) noexcept;
void* first_calloc(std::size_t, std::size_t) noexcept;
void* first_realloc(void*, std::size_t) noexcept;
void* first_aligned_alloc(std::size_t, std::size_t) noexcept;

// Each begins with a function that looks the others up, so that the fast path has no "are we ready". Hidden: no detour
// through the global offset table.
__attribute__((visibility("hidden"))) constinit Allocator next{
    first_malloc, first_free, first_calloc, first_realloc, first_aligned_alloc};

template <typename Function>
void find(Function*& entry, const char* name) {
  if (void* found = ::dlsym(RTLD_NEXT, name)) entry = reinterpret_cast<Function*>(found);
}

void find_next() noexcept {
  // What dlsym allocates meanwhile, and what there is without another allocator.
  next = {__libc_malloc, __libc_free, __libc_calloc, __libc_realloc, __libc_memalign};
  Allocator found = next;
  find(found.malloc, "malloc");
  find(found.free, "free");
  find(found.calloc, "calloc");
  find(found.realloc, "realloc");
  // memalign takes any size; aligned_alloc of some allocators insists on multiples.
  find(found.aligned_alloc, "memalign");
  next = found;
}

void* first_malloc(std::size_t bytes) noexcept {
  find_next();
  return next.malloc(bytes);
}
void first_free(void* object) noexcept {
  find_next();
  next.free(object);
}
void* first_calloc(std::size_t count, std::size_t bytes) noexcept {
  find_next();
  return next.calloc(count, bytes);
}
void* first_realloc(void* object, std::size_t bytes) noexcept {
  find_next();
  return next.realloc(object, bytes);
}
void* first_aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  find_next();
  return next.aligned_alloc(alignment, bytes);
}

// The rare half of each entry point: the countdown has ended, and `object` may be a sample.
__attribute__((noinline)) void* counted(void* object, std::size_t bytes) noexcept {
  if (object == nullptr) {
    recorder::count_up(bytes);
    return object;
  }
  const int shift = recorder::countdown_ended(bytes);
  if (shift != recorder::kNoSample) recorder::record_allocation(object, bytes, shift);
  return object;
}

__attribute__((noinline)) void* sampled_malloc(std::size_t bytes) noexcept {
  return counted(next.malloc(bytes), bytes);
}

[[gnu::always_inline]] inline void* allocate(std::size_t bytes) noexcept {
  if (recorder::count_down(bytes)) [[unlikely]]
    return sampled_malloc(bytes);
  return next.malloc(bytes);
}

void* allocate_aligned(std::size_t alignment, std::size_t bytes) noexcept {
  void* object = next.aligned_alloc(alignment, bytes);
  return recorder::count_down(bytes) ? counted(object, bytes) : object;
}

__attribute__((noinline)) void forget(void* object) noexcept {
  (void)recorder::record_free(object);
}

[[gnu::always_inline]] inline void release(void* object) noexcept {
  if (recorder::heap_recorder.live.may_hold(object)) [[unlikely]]
    forget(object);
  next.free(object);
}

// Where there is no memory, the C++ runtime's own operator says so: the program's new-handler and its exceptions are
// there, not in the runtime that may be linked into this library. A process without one has no handler either.
template <typename Operator, typename... Arguments>
__attribute__((noinline)) void* ask_runtime(const char* name, Arguments... arguments) {
  if (void* found = ::dlsym(RTLD_NEXT, name)) {
    return reinterpret_cast<Operator*>(found)(arguments...);
  }
  throw std::bad_alloc();
}

template <typename Operator, typename... Arguments>
void* ask_runtime_or_null(const char* name, Arguments... arguments) noexcept {
  try {
    return ask_runtime<Operator>(name, arguments...);
  } catch (...) {
    return nullptr;
  }
}

// A multiple of the alignment, which aligned_alloc of some allocators insists on.
std::size_t rounded_up(std::size_t bytes, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return (std::max<std::size_t>(bytes, 1) + unit - 1) / unit * unit;
}

}  // namespace vigil::sampler::interposed

#define VIGIL_EXPORT __attribute__((visibility("default")))

using namespace vigil::sampler::interposed;  // NOLINT: the file's own

// HeapProfiler looks for this name. Whether the program's malloc is really ours: one that the program itself defines, or
// that stands in front of a library opened at run time, passes it by.
extern "C" VIGIL_EXPORT int vigil_malloc_is_interposed() {
  recorder::heap_countdown.left = 0;
  void* volatile object = malloc(1);
  free(object);
  return recorder::heap_countdown.left != 0 ? 1 : 0;  // drawn anew, by us
}

extern "C" {

VIGIL_EXPORT void* malloc(std::size_t bytes) noexcept { return allocate(bytes); }

VIGIL_EXPORT void free(void* object) noexcept { release(object); }

VIGIL_EXPORT void* calloc(std::size_t count, std::size_t bytes) noexcept {
  void* object = next.calloc(count, bytes);
  // A product that overflows has given a null pointer.
  const std::size_t all = count * bytes;
  return object != nullptr && recorder::count_down(all) ? counted(object, all) : object;
}

VIGIL_EXPORT void* realloc(void* object, std::size_t bytes) noexcept {
  // Out before the allocator frees it: another thread may get the address at once. One that realloc then leaves where it
  // was, for want of memory, is not followed any more.
  if (recorder::heap_recorder.live.may_hold(object)) [[unlikely]]
    forget(object);
  void* moved = next.realloc(object, bytes);
  return moved != nullptr && recorder::count_down(bytes) ? counted(moved, bytes) : moved;
}

VIGIL_EXPORT void* reallocarray(void* object, std::size_t count, std::size_t bytes) noexcept {
  std::size_t all = 0;
  if (__builtin_mul_overflow(count, bytes, &all)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(object, all);
}

VIGIL_EXPORT void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  return allocate_aligned(alignment, bytes);
}

VIGIL_EXPORT void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  return allocate_aligned(alignment, bytes);
}

VIGIL_EXPORT int posix_memalign(void** object, std::size_t alignment, std::size_t bytes) noexcept {
  if (alignment % sizeof(void*) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0)
    return EINVAL;
  const int saved = errno;
  void* made = allocate_aligned(alignment, bytes);
  errno = saved;
  if (made == nullptr) return ENOMEM;
  *object = made;
  return 0;
}

VIGIL_EXPORT void* valloc(std::size_t bytes) noexcept { return allocate_aligned(4096, bytes); }

VIGIL_EXPORT void* pvalloc(std::size_t bytes) noexcept {
  return allocate_aligned(4096, (bytes + 4095) & ~std::size_t{4095});
}

}  // extern "C"

// Through malloc and free, whosever they are: in a program that defines its own, ours are passed by, and what its
// libraries get from new must come from there.
VIGIL_EXPORT void* operator new(std::size_t bytes) {
  if (void* object = malloc(bytes == 0 ? 1 : bytes)) [[likely]]
    return object;
  return ask_runtime<void*(std::size_t)>("_Znwm", bytes);
}
VIGIL_EXPORT void* operator new[](std::size_t bytes) { return operator new(bytes); }
VIGIL_EXPORT void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  if (void* object = malloc(bytes == 0 ? 1 : bytes)) [[likely]]
    return object;
  using Operator = void*(std::size_t, const std::nothrow_t*);
  return ask_runtime_or_null<Operator>("_ZnwmRKSt9nothrow_t", bytes, &std::nothrow);
}
VIGIL_EXPORT void* operator new[](std::size_t bytes, const std::nothrow_t& nothrow) noexcept {
  return operator new(bytes, nothrow);
}
VIGIL_EXPORT void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (void* object = aligned_alloc(static_cast<std::size_t>(alignment),
                                   rounded_up(bytes, alignment))) [[likely]]
    return object;
  return ask_runtime<void*(std::size_t, std::align_val_t)>("_ZnwmSt11align_val_t", bytes,
                                                           alignment);
}
VIGIL_EXPORT void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
VIGIL_EXPORT void* operator new(std::size_t bytes, std::align_val_t alignment,
                                const std::nothrow_t&) noexcept {
  if (void* object = aligned_alloc(static_cast<std::size_t>(alignment),
                                   rounded_up(bytes, alignment))) [[likely]]
    return object;
  using Operator = void*(std::size_t, std::align_val_t, const std::nothrow_t*);
  return ask_runtime_or_null<Operator>("_ZnwmSt11align_val_tRKSt9nothrow_t", bytes, alignment,
                                       &std::nothrow);
}
VIGIL_EXPORT void* operator new[](std::size_t bytes, std::align_val_t alignment,
                                  const std::nothrow_t& nothrow) noexcept {
  return operator new(bytes, alignment, nothrow);
}
VIGIL_EXPORT void operator delete(void* object) noexcept { free(object); }
VIGIL_EXPORT void operator delete[](void* object) noexcept { free(object); }
VIGIL_EXPORT void operator delete(void* object, std::size_t) noexcept { free(object); }
VIGIL_EXPORT void operator delete[](void* object, std::size_t) noexcept { free(object); }
VIGIL_EXPORT void operator delete(void* object, const std::nothrow_t&) noexcept { free(object); }
VIGIL_EXPORT void operator delete[](void* object, const std::nothrow_t&) noexcept { free(object); }
VIGIL_EXPORT void operator delete(void* object, std::align_val_t) noexcept { free(object); }
VIGIL_EXPORT void operator delete[](void* object, std::align_val_t) noexcept { free(object); }
VIGIL_EXPORT void operator delete(void* object, std::size_t, std::align_val_t) noexcept {
  free(object);
}
VIGIL_EXPORT void operator delete[](void* object, std::size_t, std::align_val_t) noexcept {
  free(object);
}
VIGIL_EXPORT void operator delete(void* object, std::align_val_t, const std::nothrow_t&) noexcept {
  free(object);
}
VIGIL_EXPORT void operator delete[](void* object, std::align_val_t,
                                    const std::nothrow_t&) noexcept {
  free(object);
}
