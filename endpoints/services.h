// Everything that the debug pages read. Filled by agent/; the pages hold no state of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "endpoints/capture_gate.h"
#include "endpoints/delta_baselines.h"
#include "endpoints/metric_sources.h"
#include "endpoints/profile_totals.h"
#include "endpoints/reserves.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/contention_profiler.h"
#include "sampler/cpu_profiler.h"
#include "sampler/heap_profiler.h"
#include "sampler/module_table.h"
#include "sampler/symbolizer.h"
#include "sampler/thread_snapshot.h"
#include "sampler/wall_profiler.h"

namespace vigil::endpoints {

class ProfileRing;

// Whether POSTs to the debug pages may change how the process is profiled.
enum class Changes : std::uint8_t { kRefused, kAllowed };

// References must outlive every request. All parts are thread-safe.
struct Services {
  Clock& clock;
  leakwatch::TaskRegistry& tasks;
  leakwatch::Watchdog& watchdog;
  leakwatch::StackSource& stacks;
  sampler::Modules& modules;
  sampler::Symbolizer& symbolizer;
  sampler::StackCollector& collector;
  sampler::CpuProfiler& cpu;
  sampler::WallProfiler& wall;
  CaptureGate& captures;
  ProfileTotals& totals;
  // What the delta pages' clients saw last.
  DeltaBaselines& baselines;
  // Null where the program's allocator has no sampler; `heap_absent` says so in a sentence then.
  sampler::HeapProfiler* heap = nullptr;
  std::string heap_absent;

  // Null where the program's lock functions are not interposed; `contention_absent` says so then.
  sampler::ContentionProfiler* contention = nullptr;
  std::string contention_absent;
  Changes changes = Changes::kRefused;

  // Whose level /debug/loglevel shows and sets; null: none was handed over.
  LevelSink* log_level = nullptr;

  // What is kept back for the pages; null: nothing.
  Reserves* reserves = nullptr;

  // The profiles kept on the way; null: none are kept.
  const ProfileRing* kept_profiles = nullptr;

  // Whose numbers the metrics pages show beside the process's own; null: nobody's.
  const MetricSources* sources = nullptr;

  // The program and its arguments, with secrets already redacted (redacted_arguments()).
  std::vector<std::string> command_line;

  // The longest capture that a page accepts, in seconds.
  int seconds_max = 300;
  // How long a dump waits for threads that do not answer.
  Duration dump_timeout = std::chrono::seconds(2);
};

}  // namespace vigil::endpoints
