#include "endpoints/leakcheck.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <unordered_map>

#include <fmt/core.h>

#include "base/text.h"
#include "leakwatch/leakcheck/heap_growth.h"
#include "leakwatch/leakcheck/resources.h"
#include "sampler/heap_profiler.h"
#include "sampler/stack_text.h"

namespace vigil::endpoints {
namespace {

using leakwatch::LiveStack;
using leakwatch::ProcessSnapshot;
using leakwatch::Resource;
using leakwatch::SnapshotThing;

std::vector<std::string> functions_of(std::span<const sampler::TextFrame> frames) {
  std::vector<std::string> functions;
  for (const sampler::TextFrame& frame : frames) functions.push_back(frame.function);
  return functions;
}

std::vector<sampler::TextFrame> frames_of(const sampler::Stack& stack, const Services& services) {
  return sampler::text_frames(stack, *services.modules.current(), &services.symbolizer);
}

using StacksByThread = std::unordered_map<pid_t, LiveStack>;

StacksByThread stacks_by_thread(const Services& services) {
  StacksByThread by_thread;
  for (LiveStack& stack :
       services.stacks.capture_all(services.clock.now() + services.dump_timeout)) {
    const pid_t thread = stack.thread;
    by_thread.emplace(thread, std::move(stack));
  }
  return by_thread;
}

SnapshotThing thing_of(const Resource& resource, const StacksByThread& stacks,
                       const Services& services) {
  SnapshotThing thing{.kind = std::string(resource_kind_name(resource.kind)),
                      .id = resource.id,
                      .birth = resource.birth,
                      .name = resource.name,
                      .thread = static_cast<std::uint64_t>(resource.thread)};
  const auto stack = stacks.find(resource.thread);
  if (stack != stacks.end()) {
    thing.functions = functions_of(stack->second.frames);
    thing.stack = fmt::format("[{}]\n{}", stack->second.state, format_stack(stack->second));
  }
  if (resource.creation) {
    const auto frames = frames_of(resource.creation->stack, services);
    thing.created_functions = functions_of(frames);
    sampler::append_stack_text(thing.created, frames, resource.creation->stack.end);
  }
  return thing;
}

// The symbolizer keeps the files of modules and their debug information open: ours, no leak of the
// program's. Which of them are open depends on the stacks that were asked for.
bool is_symbolizers(const Resource& resource, const sampler::ModuleTable& modules) {
  if (resource.kind != leakwatch::ResourceKind::kDescriptor) return false;
  if (resource.name.starts_with("/usr/lib/debug/")) return true;
  return std::any_of(
      modules.modules().begin(), modules.modules().end(),
      [&resource](const sampler::Module& module) { return module.path == resource.name; });
}

void add_things(ProcessSnapshot& snapshot, const Services& services) {
  std::array<leakwatch::TaskRegistry*, 1> registries = {&services.tasks};
  auto list = leakwatch::list_resources(registries);
  const StacksByThread stacks = stacks_by_thread(services);
  const auto modules = services.modules.current();
  for (const Resource& resource : list.resources) {
    if (is_symbolizers(resource, *modules)) continue;
    snapshot.things.push_back(thing_of(resource, stacks, services));
  }
  snapshot.missing = std::move(list.missing);
}

void add_heap(ProcessSnapshot& snapshot, const Services& services) {
  if (services.heap == nullptr) {
    snapshot.missing.push_back("heap: " + services.heap_absent);
    return;
  }
  const auto profile = services.heap->snapshot(services.clock.wall_now());
  if (!profile) {
    snapshot.missing.push_back("heap: " + profile.error().message());
    return;
  }
  snapshot.heap.emplace();
  for (const sampler::StackSample& sample : profile->samples) {
    // Inuse, with or without the alloc columns before them.
    const std::int64_t objects = sample.values.end()[-2];
    if (objects == 0) continue;
    auto frames = frames_of(sample.stack, services);
    leakwatch::drop_allocator_frames(frames);
    auto& site = snapshot.heap->emplace_back();
    site.functions = functions_of(frames);
    sampler::append_stack_text(site.stack, frames, sample.stack.end);
    site.objects = objects;
    site.bytes = sample.values.end()[-1];
  }
}

void add_stuck(ProcessSnapshot& snapshot, const Services& services) {
  const MonotonicTime now = services.clock.now();
  for (const leakwatch::StuckReport& report : services.watchdog.reports()) {
    if (report.state != leakwatch::EpisodeState::kStuck) continue;
    const std::string leaked = report.leaked ? fmt::format(", leaked past its timeout of {}",
                                                           format_duration(report.task.timeout()))
                                             : std::string();
    snapshot.stuck.push_back(
        {.number = report.number,
         .name = valid_utf8(report.task.label),
         .what = fmt::format("stuck for {}{}", format_duration(report.task.age(now)), leaked),
         .functions = functions_of(report.stack.frames),
         .stack = fmt::format("[{}]\n{}", report.stack.state, format_stack(report.stack))});
  }
}

}  // namespace

Page leakcheck_page(const PageRequest&, const Services& services) {
  ProcessSnapshot snapshot;
  snapshot.pid = ::getpid();
  // A library may have been loaded since.
  (void)services.modules.refresh();
  add_things(snapshot, services);
  add_heap(snapshot, services);
  add_stuck(snapshot, services);
  Page page;
  page.content_type = "application/json";
  page.body = snapshot_to_json(snapshot);
  return page;
}

}  // namespace vigil::endpoints
