#include "leakwatch/leakcheck/heap_growth.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "sampler/allocator_frames.h"
#include "sampler/heap_profiler.h"
#include "sampler/module_table.h"
#include "sampler/profile.h"
#include "sampler/symbolizer.h"
#include "sampler/unwinder.h"

namespace vigil::leakwatch {
namespace {

using Site = std::vector<sampler::FrameAddress>;
struct Held {
  std::int64_t objects = 0;
  std::int64_t bytes = 0;
};
using Heap = std::map<Site, Held>;

Result<Heap> heap_by_site(sampler::HeapProfiler& profiler, Clock& clock) {
  auto profile = profiler.snapshot(clock.wall_now());
  if (!profile) return std::move(profile).error();
  Heap heap;
  for (const sampler::StackSample& sample : profile->samples) {
    Held& held = heap[sample.stack.frames];
    // Inuse, with or without the alloc columns before them.
    held.objects += sample.values.end()[-2];
    held.bytes += sample.values.end()[-1];
  }
  return heap;
}

// A thread looks at the switch at its next sampling point, up to 16 MiB of allocations away
// (heap_profiler.h).
void let_this_thread_notice() {
  constexpr std::size_t kBlockBytes = 1024 * 1024;
  for (int i = 0; i < 40; ++i) {
    void* volatile block = ::operator new(kBlockBytes);
    ::operator delete(block);
  }
}

std::vector<sampler::TextFrame> frames_of(const Site& site, const sampler::ModuleTable& modules,
                                          sampler::Symbolizer& symbolizer) {
  const sampler::Stack stack{.frames = site, .end = sampler::StackEnd::kComplete};
  auto frames = sampler::text_frames(stack, modules, &symbolizer);
  drop_allocator_frames(frames);
  return frames;
}

}  // namespace

void drop_allocator_frames(std::vector<sampler::TextFrame>& frames) {
  const auto first =
      std::find_if(frames.begin(), frames.end(), [](const sampler::TextFrame& frame) {
        return !sampler::is_allocator_function(frame.function);
      });
  if (first != frames.end()) frames.erase(frames.begin(), first);
}

Result<std::vector<GrownSite>> heap_growth(const std::function<void()>& body, Clock& clock,
                                           HeapGrowthOptions options) {
  sampler::Modules modules;
  auto table = modules.refresh();
  if (!table) return std::move(table).error();
  sampler::Unwinder unwinder(modules);
  auto profiler = sampler::HeapProfiler::create(modules, unwinder);
  if (!profiler) return std::move(profiler).error();
  const Result<void> enabled = (*profiler)->enable({.interval_bytes = options.interval_bytes});
  if (!enabled) return enabled.error();
  let_this_thread_notice();
  for (int i = 0; i < options.warm_up_runs; ++i) body();
  auto before = heap_by_site(**profiler, clock);
  if (!before) return std::move(before).error();
  for (int i = 0; i < options.runs; ++i) body();
  auto after = heap_by_site(**profiler, clock);
  if (!after) return std::move(after).error();

  table = modules.refresh();  // the body may have loaded a library
  if (!table) return std::move(table).error();
  auto symbolizer = sampler::Symbolizer::create({});
  if (!symbolizer) return std::move(symbolizer).error();
  std::vector<GrownSite> sites;
  for (const auto& [site, held] : *after) {
    const Held& was = (*before)[site];
    if (held.bytes - was.bytes < options.bytes_min) continue;
    sites.push_back({.bytes = held.bytes - was.bytes,
                     .objects = held.objects - was.objects,
                     .frames = frames_of(site, **table, **symbolizer)});
  }
  std::sort(sites.begin(), sites.end(),
            [](const GrownSite& a, const GrownSite& b) { return a.bytes > b.bytes; });
  return sites;
}

std::string format_heap_growth(const std::vector<GrownSite>& sites) {
  std::string text;
  for (const GrownSite& site : sites) {
    fmt::format_to(std::back_inserter(text), "{}heap grew by {} bytes in {} objects at:\n",
                   text.empty() ? "" : "\n", site.bytes, site.objects);
    sampler::append_stack_text(text, site.frames, sampler::StackEnd::kComplete);
  }
  return text;
}

}  // namespace vigil::leakwatch
