// Cumulative heap columns from tcmalloc's own sampler, for nothing on the fast path.
//
// tcmalloc (gperftools) samples, but forgets a sampled object when it is freed. MallocHook would tell about every
// allocation, which costs 11 ns a malloc/free pair. But two functions are called for sampled allocations only, both from
// another object file: Sampler::RecordAllocationSlow(bytes), which says whether this one is a sample, and GetStackTrace(),
// which takes its stack. The link puts ours around them (--wrap, see cmake/VigilDependencies.cmake), which note what they
// see for the collector (gperftools 2.10: src/sampler.cc, src/tcmalloc.cc DoSampledAllocation).
#include <unwind.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "sampler/sigsafe/heap_recorder.h"

namespace {

// The size class's bytes of the sample whose stack is about to be taken; 0: none. GetStackTrace() also serves tcmalloc's
// record of how the heap grew.
constinit thread_local std::uint64_t sampled_bytes __attribute__((tls_model("initial-exec"))) = 0;

}  // namespace

// HeapProfiler looks for this name.
extern "C" int vigil_tcmalloc_samples_are_seen() { return 1; }

extern "C" bool __real__ZN8tcmalloc7Sampler20RecordAllocationSlowEm(void* sampler,
                                                                    std::size_t bytes);
extern "C" bool __wrap__ZN8tcmalloc7Sampler20RecordAllocationSlowEm(void* sampler,
                                                                    std::size_t bytes) {
  const bool passes = __real__ZN8tcmalloc7Sampler20RecordAllocationSlowEm(sampler, bytes);
  sampled_bytes = passes ? 0 : bytes;
  return passes;
}

namespace {

struct Walk {
  void** frames;
  int frames_max;
  int skip;
  int depth;
};

_Unwind_Reason_Code take_frame(_Unwind_Context* context, void* data) {
  Walk& walk = *static_cast<Walk*>(data);
  const std::uintptr_t address = _Unwind_GetIP(context);
  if (address == 0 || walk.depth == walk.frames_max) return _URC_END_OF_STACK;
  if (walk.skip > 0) {
    --walk.skip;
  } else {
    walk.frames[walk.depth++] = reinterpret_cast<void*>(address);
  }
  return _URC_NO_REASON;
}

}  // namespace

// libgcc's walk instead of tcmalloc's own, which is libunwind's and waits for the loader's lock: a child of fork(2) then
// waits for ever if another thread was in dlopen, and so does a process where tcmalloc holds its page heap's lock (the
// record of growth) while dlopen wants memory. The race matrix
// has found the first. libgcc 12 looks its tables up with
// _dl_find_object(3), which takes no lock.
extern "C" __attribute__((noinline)) int __wrap__Z13GetStackTracePPvii(void** frames,
                                                                       int frames_max, int skip) {
  Walk walk{frames, frames_max, skip + 1, 0};  // one more: this function
  _Unwind_Backtrace(take_frame, &walk);
  const std::uint64_t bytes = sampled_bytes;
  sampled_bytes = 0;
  if (bytes != 0 && walk.depth > 0) {
    vigil::sampler::sigsafe::record_walked(bytes, {frames, static_cast<std::size_t>(walk.depth)});
  }
  return walk.depth;
}
