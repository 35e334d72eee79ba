// The symbolizer on this very program, its libraries and the vdso.
#include "sampler/symbolizer.h"

#include <dlfcn.h>
#include <sys/auxv.h>

#include <atomic>
#include <string>
#include <string_view>
#include <thread>

#include "tests/support/catch.h"

namespace vigil::sampler {

// The tests compare lines, so a call and its __LINE__ share one.
// clang-format off
namespace symbol_test {

// Where the call in the caller is, and on which line.
struct Place {
  std::uintptr_t return_address = 0;
  int line = 0;
};

__attribute__((noinline)) std::uintptr_t caller_address() {
  return reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
}

__attribute__((noinline)) Place plain(int n) {
  asm volatile("" : "+r"(n));
  Place place;
  place.return_address = caller_address(); place.line = __LINE__;
  asm volatile("" ::: "memory");
  return place;
}

__attribute__((always_inline)) inline void innermost(Place& place) {
  place.return_address = caller_address(); place.line = __LINE__;
  asm volatile("" ::: "memory");
}

__attribute__((always_inline)) inline int middle(Place& place) {
  innermost(place); const int line = __LINE__;
  return line;
}

struct Outcome {
  Place place;
  int middle_line = 0;
  int outer_line = 0;
};

__attribute__((noinline)) Outcome outermost() {
  Outcome outcome;
  outcome.middle_line = middle(outcome.place); outcome.outer_line = __LINE__;
  asm volatile("" ::: "memory");
  return outcome;
}

// Ends in a call that does not return: its return address is the first byte of whatever comes next.
std::uintptr_t g_last_call = 0;
__attribute__((noinline)) void note_and_throw() {
  g_last_call = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  throw 1;
}
__attribute__((noinline)) void ends_in_a_call() {
  note_and_throw();
  __builtin_unreachable();
}

}  // namespace symbol_test
// clang-format on

namespace {

std::shared_ptr<const ModuleTable> module_table() {
  Modules modules;
  auto table = modules.refresh();
  REQUIRE(table);
  return *table;
}

std::unique_ptr<Symbolizer> make_symbolizer(SymbolizerOptions options = {}) {
  auto symbolizer = Symbolizer::create(std::move(options));
  REQUIRE(symbolizer);
  return std::move(*symbolizer);
}

std::uintptr_t symbol_in(const char* library, const char* name) {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(handle != nullptr);
  void* address = ::dlsym(handle, name);
  ::dlclose(handle);
  REQUIRE(address != nullptr);
  return reinterpret_cast<std::uintptr_t>(address);
}

}  // namespace

TEST_CASE("symbolizer: function, file and line of a plain function") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const symbol_test::Place place = symbol_test::plain(1);
  const auto where =
      symbolizer->symbolize(FrameAddress::return_address(place.return_address), *table);
  REQUIRE(where.frames().size() == 1);
  const SourceFrame& frame = where.frames().front();
  CHECK(frame.function->name == "vigil::sampler::symbol_test::plain");
  CHECK(frame.function->system_name == "_ZN5vigil7sampler11symbol_test5plainEi");
  CHECK(frame.function->file == __FILE__);
  CHECK(frame.function->start_line > 0);
  CHECK(frame.function->start_line < place.line);
  CHECK(frame.line == place.line);
  CHECK_FALSE(frame.inlined);
  CHECK(where.offset() > 0);
  CHECK(where.offset() < 4096);
}

TEST_CASE("symbolizer: inlined frames, innermost first, each with its own line") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const symbol_test::Outcome outcome = symbol_test::outermost();
  const auto where =
      symbolizer->symbolize(FrameAddress::return_address(outcome.place.return_address), *table);
  const auto frames = where.frames();
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].function->name == "vigil::sampler::symbol_test::innermost");
  CHECK(frames[0].function->system_name.starts_with("_ZN5vigil7sampler11symbol_test9innermost"));
  CHECK(frames[0].line == outcome.place.line);
  CHECK(frames[0].inlined);
  CHECK(frames[1].function->name == "vigil::sampler::symbol_test::middle");
  CHECK(frames[1].line == outcome.middle_line);
  CHECK(frames[1].function->file == __FILE__);
  CHECK(frames[1].inlined);
  CHECK(frames[2].function->name == "vigil::sampler::symbol_test::outermost");
  CHECK(frames[2].line == outcome.outer_line);
  CHECK_FALSE(frames[2].inlined);
}

TEST_CASE("symbolizer: a call that is a function's last instruction belongs to that function") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  try {
    symbol_test::ends_in_a_call();
  } catch (int) {
  }
  const auto where =
      symbolizer->symbolize(FrameAddress::return_address(symbol_test::g_last_call), *table);
  REQUIRE(where.known());
  CHECK(where.frames().back().function->name == "vigil::sampler::symbol_test::ends_in_a_call");
}

TEST_CASE("symbolizer: the C library's functions by their public names") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const auto where =
      symbolizer->symbolize(FrameAddress::instruction(symbol_in("libc.so.6", "getpid")), *table);
  REQUIRE(where.known());
  CHECK(where.frames().back().function->name == "getpid");
  CHECK(where.offset() == 0);
}

TEST_CASE("symbolizer: the vdso") {
  REQUIRE(::getauxval(AT_SYSINFO_EHDR) != 0);
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const auto address = symbol_in("linux-vdso.so.1", "__vdso_clock_gettime");
  const auto where = symbolizer->symbolize(FrameAddress::instruction(address), *table);
  REQUIRE(where.known());
  CHECK(where.frames().back().function->name == "clock_gettime");
}

TEST_CASE("symbolizer: an address outside every module has no frames but a printable name") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  int on_the_stack = 0;
  const auto address = reinterpret_cast<std::uintptr_t>(&on_the_stack);
  CHECK_FALSE(symbolizer->symbolize(FrameAddress::instruction(address), *table).known());
  CHECK_FALSE(symbolizer->symbolize(FrameAddress::instruction(0), *table).known());
  CHECK(module_offset_name(0x1234, nullptr) == "0x1234");
  Module module;
  module.path = "/usr/lib/libfoo.so";
  module.load_bias = 0x7000;
  CHECK(module_offset_name(0x8234, &module) == "libfoo.so+0x1234");
}

TEST_CASE("symbolizer: an address seen before comes from the cache, with the same answer") {
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const auto address = FrameAddress::return_address(symbol_test::plain(1).return_address);
  const auto first = symbolizer->symbolize(address, *table);
  const auto again = symbolizer->symbolize(address, *table);
  CHECK(first.frames().data() == again.frames().data());
  CHECK(symbolizer->stats().misses == 1);
  CHECK(symbolizer->stats().hits == 1);
}

TEST_CASE("symbolizer: the cache is bounded, and what it drops is found again") {
  const auto table = module_table();
  SymbolizerOptions options;
  options.cached_addresses_max = 4;
  options.open_modules_max = 1;
  const auto symbolizer = make_symbolizer(options);
  const auto base = symbol_test::plain(1).return_address;
  const auto name = [&](std::uintptr_t address) {
    const auto where = symbolizer->symbolize(FrameAddress::instruction(address), *table);
    REQUIRE(where.known());
    return where.frames().back().function->name;
  };
  const std::string first = name(base);
  const std::uintptr_t libc = symbol_in("libc.so.6", "getpid");
  // Eight more addresses, twice what one generation holds; the two modules take turns.
  for (std::uintptr_t i = 1; i <= 4; ++i) {
    name(base - i);  // inside the call instruction
    name(libc + i);
  }
  const auto misses = symbolizer->stats().misses;
  CHECK(name(base) == first);
  CHECK(symbolizer->stats().misses == misses + 1);
}

TEST_CASE("symbolizer: an answer outlives the symbolizer") {
  const auto table = module_table();
  SymbolizedAddress where;
  {
    const auto symbolizer = make_symbolizer();
    where = symbolizer->symbolize(
        FrameAddress::return_address(symbol_test::plain(1).return_address), *table);
  }
  REQUIRE(where.known());
  CHECK(where.frames().front().function->name == "vigil::sampler::symbol_test::plain");
}

TEST_CASE("symbolizer: bounds of zero are refused") {
  SymbolizerOptions no_cache;
  no_cache.cached_addresses_max = 0;
  CHECK(Symbolizer::create(no_cache).error().code() == ErrorCode::kInvalidArgument);
  SymbolizerOptions no_modules;
  no_modules.open_modules_max = 0;
  CHECK(Symbolizer::create(no_modules).error().code() == ErrorCode::kInvalidArgument);
}

TEST_CASE("symbolizer: several threads at once get the same answers") {
  const auto table = module_table();
  SymbolizerOptions options;
  options.cached_addresses_max = 8;  // so that they also drop and read again
  const auto symbolizer = make_symbolizer(options);
  const auto address = symbol_test::plain(1).return_address;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uintptr_t i = 0; i < 200; ++i) {
        const auto where =
            symbolizer->symbolize(FrameAddress::instruction(address - i % 16), *table);
        const bool right = where.known() && where.frames().back().function->name ==
                                                "vigil::sampler::symbol_test::plain";
        if (!right && i % 16 == 0) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
}

}  // namespace vigil::sampler
