// Heap growth: whether something that is done again and again keeps more memory each time.
//
//   const auto growth = heap_growth([] { parse(document); }, clock);
//   REQUIRE(growth);                            // unsupported where the program has no tcmalloc
//   CHECK(format_heap_growth(*growth) == "");
//
// The body runs a few times first, so that caches and pools are filled. Then two heap profiles are
// taken, with `runs` more runs between; a call site that holds more in the second, by at least
// `bytes_min`, has grown.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/stack_text.h"

namespace vigil::leakwatch {

struct HeapGrowthOptions {
  int warm_up_runs = 3;
  int runs = 20;
  // How much more a call site must hold after all runs. A sampled estimate: what is 16 intervals
  // above is never taken for noise.
  std::int64_t bytes_min = 64 * 1024;
  // HeapProfilerOptions::interval_bytes while this runs.
  std::int64_t interval_bytes = 4 * 1024;
};

struct GrownSite {
  std::int64_t bytes = 0;
  std::int64_t objects = 0;
  std::vector<sampler::TextFrame>
      frames;  // of the call site, innermost first, without the allocator
};

// By bytes, most first. Errors: unsupported (no tcmalloc in this program), those of
// HeapProfiler::enable and of reading /proc/self/maps. `body` runs on the calling thread; other
// threads' allocations count too. Cost: warm_up_runs + runs calls at several times their cost.
Result<std::vector<GrownSite>> heap_growth(const std::function<void()>& body, Clock& clock,
                                           HeapGrowthOptions options = {});

// Takes the allocator's frames off the leaf end. At least one frame stays. Pure.
void drop_allocator_frames(std::vector<sampler::TextFrame>& frames);

// A paragraph for each site; empty for none. Pure.
std::string format_heap_growth(const std::vector<GrownSite>& sites);

}  // namespace vigil::leakwatch
