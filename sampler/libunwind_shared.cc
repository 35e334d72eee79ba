// The functions of libunwind that unwinder.cc calls, passed on to the distribution's shared library. For the agent's
// shared object, where the static archive cannot go (it is not position-independent); a program links that instead.
//
// libunwind-x86_64.so.8, the "remote" library, has the _Ux86_64_ names alone: with RTLD_LOCAL, nothing of it can answer
// a name that the program looks up, least of all _Unwind_Resume. It is loaded when the agent starts, so a program that
// is not profiled does not carry it.
//
// One lock around what uses libunwind's process-wide pools, so that fork(2) can wait until nobody is inside: in a child
// whose parent was, the pools' own locks would stay taken for ever.
#include "sampler/libunwind_shared.h"

#include <dlfcn.h>
#include <pthread.h>

#include <mutex>
#include <string>

#include <libunwind.h>

// clang-format off
#define VIGIL_LIBUNWIND_FUNCTIONS(X) \
  X(create_addr_space) X(destroy_addr_space) X(set_caching_policy) X(set_cache_size) X(flush_cache) X(init_remote) \
  X(step) X(get_reg) X(get_save_loc) X(is_signal_frame) X(dwarf_search_unwind_table)
// clang-format on

extern "C" int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t, unw_word_t, unw_dyn_info_t*,
                                                  unw_proc_info_t*, int, void*);

namespace vigil::sampler {
namespace {

struct LibunwindApi {
#define VIGIL_LIBUNWIND_MEMBER(name) decltype(&::_Ux86_64_##name) name = nullptr;
  VIGIL_LIBUNWIND_FUNCTIONS(VIGIL_LIBUNWIND_MEMBER)
#undef VIGIL_LIBUNWIND_MEMBER
};

// Written by load_libunwind() alone, before there is an Unwinder.
constinit LibunwindApi api;
constinit std::mutex inside;

}  // namespace

Result<void> load_libunwind() {
  constexpr const char* kLibrary = "libunwind-x86_64.so.8";
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* const why = ::dlerror();
    return Error(ErrorCode::kUnsupported,
                 std::string("stacks need libunwind (Debian package libunwind8): ") +
                     (why != nullptr ? why : "cannot be loaded"));
  }
  const char* missing = nullptr;
#define VIGIL_LIBUNWIND_RESOLVE(name)                                                   \
  api.name = reinterpret_cast<decltype(api.name)>(::dlsym(library, "_Ux86_64_" #name)); \
  if (api.name == nullptr) missing = #name;
  VIGIL_LIBUNWIND_FUNCTIONS(VIGIL_LIBUNWIND_RESOLVE)
#undef VIGIL_LIBUNWIND_RESOLVE
  if (missing == nullptr) return {};
  return Error(ErrorCode::kUnsupported, std::string(kLibrary) + " has no " + missing);
}

void hold_libunwind() { inside.lock(); }
void release_libunwind() { inside.unlock(); }

}  // namespace vigil::sampler

using vigil::sampler::api;
using vigil::sampler::inside;

extern "C" {

unw_addr_space_t _Ux86_64_create_addr_space(unw_accessors_t* accessors, int order) {
  const std::lock_guard lock(inside);
  return api.create_addr_space(accessors, order);
}
void _Ux86_64_destroy_addr_space(unw_addr_space_t space) {
  const std::lock_guard lock(inside);
  api.destroy_addr_space(space);
}
int _Ux86_64_set_caching_policy(unw_addr_space_t space, unw_caching_policy_t policy) {
  const std::lock_guard lock(inside);
  return api.set_caching_policy(space, policy);
}
int _Ux86_64_set_cache_size(unw_addr_space_t space, size_t size, int flag) {
  const std::lock_guard lock(inside);
  return api.set_cache_size(space, size, flag);
}
void _Ux86_64_flush_cache(unw_addr_space_t space, unw_word_t low, unw_word_t high) {
  const std::lock_guard lock(inside);
  api.flush_cache(space, low, high);
}
int _Ux86_64_init_remote(unw_cursor_t* cursor, unw_addr_space_t space, void* argument) {
  const std::lock_guard lock(inside);
  return api.init_remote(cursor, space, argument);
}
int _Ux86_64_step(unw_cursor_t* cursor) {
  const std::lock_guard lock(inside);
  return api.step(cursor);
}
int _Ux86_64_is_signal_frame(unw_cursor_t* cursor) {
  const std::lock_guard lock(inside);
  return api.is_signal_frame(cursor);
}
// These three use no pool; the last is called from inside step(), by an accessor.
int _Ux86_64_get_reg(unw_cursor_t* cursor, int reg, unw_word_t* value) {
  return api.get_reg(cursor, reg, value);
}
int _Ux86_64_get_save_loc(unw_cursor_t* cursor, int reg, unw_save_loc_t* where) {
  return api.get_save_loc(cursor, reg, where);
}
int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t space, unw_word_t ip, unw_dyn_info_t* table,
                                       unw_proc_info_t* info, int need_info, void* argument) {
  return api.dwarf_search_unwind_table(space, ip, table, info, need_info, argument);
}

}  // extern "C"
