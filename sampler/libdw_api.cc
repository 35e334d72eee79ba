#include "sampler/libdw_api.h"

#include <dlfcn.h>

#include <string>

namespace vigil::sampler {

Result<LibdwApi> LibdwApi::load() {
  constexpr const char* kLibrary = "libdw.so.1";
  // RTLD_LOCAL: its names must not answer the program's own look-ups. Never dlclose'd: it keeps
  // thread-local state.
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return Error(ErrorCode::kUnsupported,
                 std::string("function names need elfutils' libdw (Debian package libdw1): ") +
                     (why != nullptr ? why : "cannot be loaded"));
  }
  LibdwApi api;
  const char* missing = nullptr;
#define VIGIL_LIBDW_RESOLVE(name)                                         \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name)); \
  if (api.name == nullptr) missing = #name;
  VIGIL_LIBDW_FUNCTIONS(VIGIL_LIBDW_RESOLVE)
#undef VIGIL_LIBDW_RESOLVE
  if (missing != nullptr) {
    return Error(ErrorCode::kUnsupported,
                 std::string(kLibrary) + " is too old: it has no " + missing + " (0.170 has it)");
  }
  api.elf_version(EV_CURRENT);  // libelf refuses to work before this call
  return api;
}

}  // namespace vigil::sampler
