// Micro-benchmarks of the way from a captured stack to a profile's bytes.

#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <random>
#include <vector>

#include "sampler/frame_rules.h"
#include "sampler/module_table.h"
#include "sampler/own_capture.h"
#include "sampler/pprof_encoder.h"
#include "sampler/profile.h"
#include "sampler/sample_table.h"
#include "sampler/symbolizer.h"
#include "sampler/unwinder.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFrames = 30;

// A walk of `range` frames whose rules are known: one look-up and one step for each.
void frame_rules_walk(benchmark::State& state) {
  constexpr std::uintptr_t kCode = 0x400000;
  constexpr std::uintptr_t kBase = 0x7000'0000;
  constexpr std::size_t kFrameWords = 16;
  constexpr std::size_t kFrameBytes = kFrameWords * sizeof(std::uint64_t);
  const auto frames = static_cast<std::size_t>(state.range(0));
  std::vector<std::uint64_t> words(kFrameWords * frames);
  FrameRules rules;
  const FrameRule rule{.kind = FrameRule::Kind::kFromSp, .cfa_offset = kFrameBytes};
  for (std::size_t i = 0; i < frames; ++i) {
    const std::uintptr_t caller = kCode + 64 * i;
    words[kFrameWords * (i + 1) - 1] = caller;
    rules.keep(FrameAddress::return_address(caller), rule);
  }
  const StackCopy copy{kBase, std::as_bytes(std::span(words)), 0};
  for (auto _ : state) {
    RegisterSet registers;
    registers.set(Register::kRip, kCode);
    registers.set(Register::kRsp, kBase);
    std::size_t steps = 0;
    for (; steps < frames; ++steps) {
      const auto pc = FrameAddress::return_address(registers.get(Register::kRip));
      const FrameRule* known = rules.find(pc);
      if (known == nullptr || !follow(*known, copy, registers)) break;
    }
    if (steps != frames) {
      state.SkipWithError("a step without a rule");
      break;
    }
  }
}
BENCHMARK(frame_rules_walk)->Arg(5)->Arg(50)->Arg(500);

Stack walk(Unwinder& unwinder, const OwnCapture& capture) {
  return unwinder.unwind(capture.registers, capture.stack, kFramesMax);
}

// Which of two functions a level calls is in the bits of `path`, so that few stacks are equal.
OwnCapture descend_left(std::int64_t depth, std::uint64_t path);
OwnCapture descend_right(std::int64_t depth, std::uint64_t path);

[[gnu::always_inline]] inline OwnCapture step(std::int64_t depth, std::uint64_t path) {
  if (depth == 0) return capture_own_stack(512 * 1024);
  const std::uint64_t rest = path >> 1 | path << 63;
  return (path & 1) != 0 ? descend_left(depth - 1, rest) : descend_right(depth - 1, rest);
}
[[gnu::noinline]] OwnCapture descend_left(std::int64_t depth, std::uint64_t path) {
  OwnCapture capture = step(depth, path);
  asm volatile("");  // no tail call
  return capture;
}
[[gnu::noinline]] OwnCapture descend_right(std::int64_t depth, std::uint64_t path) {
  OwnCapture capture = step(depth, path);
  asm volatile("" : : "r"(&capture) : "memory");
  return capture;
}

// A stack of `range` frames that no walk has met, its code being known.
void unwind_new(benchmark::State& state) {
  Modules modules;
  if (!modules.refresh()) state.SkipWithError("no modules");
  std::vector<OwnCapture> captures;
  std::mt19937_64 random(7);
  for (int i = 0; i < 64; ++i) captures.push_back(step(state.range(0) - 10, random()));
  auto fresh = std::make_unique<Unwinder>(modules);
  std::size_t next = 0;
  for (auto _ : state) {
    if (next == captures.size()) {
      state.PauseTiming();
      fresh = std::make_unique<Unwinder>(modules);
      // What is new in the code, not in the stack.
      for (std::size_t i = 0; i < 4; ++i) (void)walk(*fresh, captures[i]);
      next = 4;
      state.ResumeTiming();
    }
    if (walk(*fresh, captures[next++]).end != StackEnd::kComplete) {
      state.SkipWithError("incomplete");
      break;
    }
  }
}
BENCHMARK(unwind_new)->Arg(25)->Arg(50)->Arg(500);

// The same stack again.
void unwind_known(benchmark::State& state) {
  Modules modules;
  Unwinder unwinder(modules);
  if (!modules.refresh()) state.SkipWithError("no modules");
  const OwnCapture capture = step(state.range(0) - 10, 0x5A5A);
  if (walk(unwinder, capture).end != StackEnd::kComplete) state.SkipWithError("incomplete");
  for (auto _ : state) benchmark::DoNotOptimize(walk(unwinder, capture));
}
BENCHMARK(unwind_known)->Arg(15)->Arg(50)->Arg(500);

// Addresses of this program's own code, `step` bytes apart, from a function on.
std::vector<FrameAddress> own_addresses(std::size_t count, std::size_t step) {
  const auto first = reinterpret_cast<std::uintptr_t>(&encode_pprof_raw);
  std::vector<FrameAddress> addresses;
  for (std::size_t i = 0; i < count; ++i) {
    addresses.push_back(FrameAddress::return_address(first + step * i));
  }
  return addresses;
}

struct Symbols {
  Modules modules;
  std::shared_ptr<const ModuleTable> table = *modules.refresh();
  std::unique_ptr<Symbolizer> symbolizer = *Symbolizer::create({});
};

void symbol_known(benchmark::State& state) {
  Symbols symbols;
  const auto addresses = own_addresses(256, 16);
  for (const FrameAddress address : addresses) {
    (void)symbols.symbolizer->symbolize(address, *symbols.table);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        symbols.symbolizer->symbolize(addresses[next++ % addresses.size()], *symbols.table));
  }
}
BENCHMARK(symbol_known);

// Every address is new, in a module that is open; a fresh symbolizer, untimed, when they run out.
void symbol_new(benchmark::State& state) {
  auto symbols = std::make_unique<Symbols>();
  const auto addresses = own_addresses(4096, 5);
  std::size_t next = 1;
  (void)symbols->symbolizer->symbolize(addresses[0], *symbols->table);
  for (auto _ : state) {
    if (next == addresses.size()) {
      state.PauseTiming();
      symbols = std::make_unique<Symbols>();
      (void)symbols->symbolizer->symbolize(addresses[0], *symbols->table);
      next = 1;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(symbols->symbolizer->symbolize(addresses[next++], *symbols->table));
  }
}
BENCHMARK(symbol_new);

Stack stack_number(std::size_t number, std::size_t frames) {
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(&encode_pprof_raw);
  Stack stack{.frames = {}, .end = StackEnd::kComplete};
  for (std::size_t i = 0; i < frames; ++i) {
    const std::size_t which = (number >> i % 12 & 1) + 2 * i;
    stack.frames.push_back(FrameAddress::return_address(first + 16 * which));
  }
  return stack;
}

// A sample of a stack that is in the table, found by its frames; then added.
void sample_count(benchmark::State& state) {
  SampleTable table({});
  const Stack stack = stack_number(5, static_cast<std::size_t>(state.range(0)));
  const ThreadWork work{work_name("GET /orders/{id}"), 1, MonotonicTime(1h), {}};
  for (auto _ : state)
    table.add(table.cell_of(stack, work, ""), {1, 10'000'000}, MonotonicTime(1h));
}
BENCHMARK(sample_count)->Arg(5)->Arg(30)->Arg(500);

StackProfile profile_of(std::size_t stacks) {
  StackProfile profile;
  profile.name = "profile";
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.period_type = {"cpu", "nanoseconds"};
  profile.period = 10'000'000;
  for (std::size_t i = 0; i < stacks; ++i) {
    profile.samples.push_back({stack_number(i, kFrames),
                               {1, 10'000'000},
                               {{"route", "/orders/" + std::to_string(i % 50), 0, {}}}});
  }
  return profile;
}

void profile_build(benchmark::State& state) {
  Symbols symbols;
  const StackProfile profile = profile_of(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(build_profile(profile, *symbols.table, symbols.symbolizer.get()));
  }
}
BENCHMARK(profile_build)->RangeMultiplier(10)->Range(10, 1000)->Unit(benchmark::kMicrosecond);

void profile_encode(benchmark::State& state) {
  Symbols symbols;
  const Profile profile = build_profile(profile_of(static_cast<std::size_t>(state.range(0))),
                                        *symbols.table, symbols.symbolizer.get());
  for (auto _ : state) benchmark::DoNotOptimize(encode_pprof(profile));
}
BENCHMARK(profile_encode)->RangeMultiplier(10)->Range(10, 1000)->Unit(benchmark::kMicrosecond);

void profile_encode_raw(benchmark::State& state) {
  Symbols symbols;
  const Profile profile = build_profile(profile_of(static_cast<std::size_t>(state.range(0))),
                                        *symbols.table, symbols.symbolizer.get());
  for (auto _ : state) benchmark::DoNotOptimize(encode_pprof_raw(profile));
}
BENCHMARK(profile_encode_raw)->RangeMultiplier(10)->Range(10, 1000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vigil::sampler
