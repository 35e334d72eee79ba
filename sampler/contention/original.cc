#include "sampler/contention/original.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace vigil::sampler::contention {
namespace {

__attribute__((tls_model("initial-exec"))) constinit thread_local bool looking_up = false;

void write_error(std::string_view text) noexcept {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void* find_original(const char* name) noexcept {
  if (looking_up) return nullptr;
  looking_up = true;
  void* found = ::dlsym(RTLD_NEXT, name);
  // In a library that was opened at run time there may be nothing behind it, and the C library is in front.
  if (found == nullptr) found = ::dlsym(RTLD_DEFAULT, name);
  looking_up = false;
  if (found != nullptr) return found;
  write_error("vigil: the C library has no ");
  write_error(name);
  write_error("\n");
  std::abort();
}

}  // namespace vigil::sampler::contention
