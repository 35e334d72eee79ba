#include "sampler/tcmalloc_api.h"

#include <cstddef>
#include <memory>
#include <utility>

#include <gperftools/malloc_extension.h>

// References into tcmalloc that a link without it leaves null. The first is
// MallocExtension::instance() by its mangled name: a member function cannot be declared weak a
// second time. Everything else goes through the object's vtable.
extern "C" MallocExtension* vigil_tcmalloc_instance() __asm__("_ZN15MallocExtension8instanceEv")
    __attribute__((weak));
// gperftools/nallocx.h
extern "C" std::size_t tc_nallocx(std::size_t size, int flags) __attribute__((weak));

// gperftools src/sampler.cc: DEFINE_int64(tcmalloc_sample_parameter, …) makes this name
// (base/commandlineflags.h).
namespace FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead {
extern std::int64_t FLAGS_tcmalloc_sample_parameter __attribute__((weak));
}

namespace vigil::sampler::tcmalloc_api {
namespace {

// Above it there are no size classes (gperftools src/common.h, kMaxSize).
constexpr std::int64_t kSizeClassMax = 256 * 1024;
// gperftools src/common.h, kMaxStackDepth is 31, of which one may be taken by a link.
constexpr std::size_t kDepthMax = 30;

// The sanitizer's check of the object's type would need MallocExtension's type information at link
// time.
#define VIGIL_NO_VPTR_CHECK __attribute__((no_sanitize("vptr")))

// A table of MallocExtension: entries of [count, size, depth, depth addresses], ended by a
// count of 0, each word stored as a pointer (gperftools src/stack_trace_table.cc). Since
// gperftools 2.8 the count is always 1.
std::vector<Entry> entries_of(void* const* words) {
  const auto number = [](void* word) { return reinterpret_cast<std::uintptr_t>(word); };
  std::vector<Entry> entries;
  while (number(words[0]) != 0) {
    const std::size_t depth = number(words[2]);
    Entry entry;
    entry.count = static_cast<std::int64_t>(number(words[0]));
    entry.bytes = static_cast<std::int64_t>(number(words[1]));
    entry.stack.frames.reserve(depth);
    for (std::size_t i = 0; i < depth; ++i) {
      entry.stack.frames.push_back(FrameAddress::return_address(number(words[3 + i])));
    }
    entry.stack.end = depth >= kDepthMax ? StackEnd::kTruncated : StackEnd::kComplete;
    entries.push_back(std::move(entry));
    words += 3 + depth;
  }
  return entries;
}

std::optional<std::vector<Entry>> entries_of_table(std::unique_ptr<void*[]> table) {
  if (!table) return std::nullopt;
  return entries_of(table.get());
}

}  // namespace

std::atomic_ref<std::int64_t> sample_parameter() {
  using FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead::
      FLAGS_tcmalloc_sample_parameter;
  return std::atomic_ref<std::int64_t>(FLAGS_tcmalloc_sample_parameter);
}

bool present() {
  using FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead::
      FLAGS_tcmalloc_sample_parameter;
  return vigil_tcmalloc_instance != nullptr && &FLAGS_tcmalloc_sample_parameter != nullptr;
}

VIGIL_NO_VPTR_CHECK std::int64_t allocated_bytes() {
  std::size_t bytes = 0;
  vigil_tcmalloc_instance()->GetNumericProperty("generic.current_allocated_bytes", &bytes);
  return static_cast<std::int64_t>(bytes);
}

std::int64_t served_bytes(std::int64_t bytes) {
  if (tc_nallocx == nullptr || bytes > kSizeClassMax) return bytes;
  return static_cast<std::int64_t>(tc_nallocx(static_cast<std::size_t>(bytes), 0));
}

VIGIL_NO_VPTR_CHECK std::optional<std::vector<Entry>> read_stack_traces(int& interval) {
  return entries_of_table(
      std::unique_ptr<void*[]>(vigil_tcmalloc_instance()->ReadStackTraces(&interval)));
}

VIGIL_NO_VPTR_CHECK std::optional<std::vector<Entry>> read_growth_stack_traces() {
  return entries_of_table(
      std::unique_ptr<void*[]>(vigil_tcmalloc_instance()->ReadHeapGrowthStackTraces()));
}

VIGIL_NO_VPTR_CHECK void release_free_memory() { vigil_tcmalloc_instance()->ReleaseFreeMemory(); }

}  // namespace vigil::sampler::tcmalloc_api
