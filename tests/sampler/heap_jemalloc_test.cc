// That the program on jemalloc is one: without it the accuracy tests beside this would be glibc's again.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using Control = int (*)(const char*, void*, std::size_t*, void*, std::size_t);

// Bytes that the calling thread has had from jemalloc so far (jemalloc(3), "thread.allocated").
std::uint64_t thread_allocated(Control control) {
  std::uint64_t bytes = 0;
  std::size_t size = sizeof bytes;
  REQUIRE(control("thread.allocated", &bytes, &size, nullptr, 0) == 0);
  return bytes;
}

TEST_CASE("heap accuracy: behind our malloc is jemalloc's, for every way to ask") {
  const auto control = reinterpret_cast<Control>(dlsym(RTLD_DEFAULT, "mallctl"));
  REQUIRE(control != nullptr);
  constexpr std::size_t kBytes = 1 << 20;
  void* (*const ways[])() = {
      [] { return std::malloc(kBytes); },
      [] { return std::calloc(1, kBytes); },
      [] { return std::realloc(nullptr, kBytes); },
      [] { return std::aligned_alloc(4096, kBytes); },
  };
  for (void* (*const way)() : ways) {
    const std::uint64_t before = thread_allocated(control);
    void* object = way();
    const std::uint64_t after = thread_allocated(control);
    CHECK(after - before >= kBytes);
    std::free(object);
  }
  const std::uint64_t before = thread_allocated(control);
  void* object = ::operator new(kBytes);
  CHECK(thread_allocated(control) - before >= kBytes);
  ::operator delete(object);
}

}  // namespace
}  // namespace vigil::sampler
