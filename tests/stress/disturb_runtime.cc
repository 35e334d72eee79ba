// The loader, the unwinder, the allocator and threads: what holds locks that a sampler must not want.
#include <dlfcn.h>
#include <link.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>

#include "sampler/labels.h"
#include "tests/stress/disturbance.h"

namespace vigil::test {

// Mapped and unmapped each time: a sample may be in code that is gone when it is unwound.
void open_and_close_libraries(Turn& turn) {
  while (turn.goes_on()) {
    void* library = dlopen(VIGIL_FIXTURE_DIR "/libsymbol_fixture.so", RTLD_NOW | RTLD_LOCAL);
    turn.expect(library != nullptr, "dlopen failed");
    if (library == nullptr) continue;
    const auto address = reinterpret_cast<void* (*)()>(dlsym(library, "fixture_exported_address"));
    turn.expect(address != nullptr, "dlsym failed");
    if (address != nullptr) {
      const auto twice_plus_two = reinterpret_cast<int (*)(int)>(address());
      for (int i = 0; i < 1'000; ++i) turn.expect(twice_plus_two(i) == 2 * i + 2, "a wrong result");
    }
    turn.expect(dlclose(library) == 0, "dlclose failed");
  }
}

void walk_the_loaders_list(Turn& turn) {
  while (turn.goes_on()) {
    int objects = 0;
    dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* count) {
          ++*static_cast<int*>(count);
          return 0;
        },
        &objects);
    turn.expect(objects > 2, "the loader's list is short");
  }
}

namespace {

struct Counted {
  explicit Counted(int& alive) : alive_(alive) { ++alive_; }
  ~Counted() { --alive_; }
  int& alive_;
};

[[gnu::noinline]] int throw_below(int depth, int& alive) {
  const Counted here(alive);
  if (depth == 0) throw std::runtime_error("a text that is too long to be in place");
  const int below = throw_below(depth - 1, alive);
  asm volatile("");  // no tail call
  return below + 1;
}

}  // namespace

void throw_and_catch(Turn& turn) {
  while (turn.goes_on()) {
    int alive = 0;
    bool caught = false;
    std::exception_ptr kept;
    try {
      throw_below(20, alive);
    } catch (const std::runtime_error& error) {
      caught = std::strstr(error.what(), "too long") != nullptr;
      kept = std::current_exception();
    }
    turn.expect(caught, "an exception was lost");
    turn.expect(alive == 0, "a destructor was left out");
    caught = false;
    try {
      std::rethrow_exception(kept);
    } catch (const std::exception&) {
      caught = true;
    }
    turn.expect(caught, "a rethrown exception was lost");
  }
}

namespace {

struct Block {
  unsigned char* bytes = nullptr;
  std::size_t size = 0;

  unsigned char mark() const { return static_cast<unsigned char>(size * 7 + 1); }
  void sign() {
    if (size > 0) bytes[0] = bytes[size - 1] = mark();
  }
  bool is_signed() const { return size == 0 || (bytes[0] == mark() && bytes[size - 1] == mark()); }
};

}  // namespace

void allocate_all_sizes(Turn& turn) {
  std::array<Block, 64> blocks;
  std::uint32_t state = 1;
  const auto next = [&state] { return state = state * 1664525 + 1013904223; };
  while (turn.goes_on()) {
    Block& block = blocks[(next() >> 16) % blocks.size()];
    turn.expect(block.is_signed(), "somebody wrote into a block");
    // Each order of magnitude as often as any other, up to 1 MiB.
    const std::size_t size = next() >> (12 + (next() >> 16) % 20);
    if (next() % 3 == 0) {
      std::free(block.bytes);
      block.bytes = static_cast<unsigned char*>(std::aligned_alloc(64, (size + 63) / 64 * 64));
    } else {
      block.bytes = static_cast<unsigned char*>(std::realloc(block.bytes, size + 1));
    }
    block.size = size;
    turn.expect(block.bytes != nullptr, "no memory");
    if (block.bytes == nullptr) block.size = 0;
    block.sign();
  }
  for (const Block& block : blocks) {
    turn.expect(block.is_signed(), "somebody wrote into a block");
    std::free(block.bytes);
  }
}

void create_threads(Turn& turn) {
  while (turn.goes_on()) {
    int done = 0;
    std::thread thread([&done] {
      const LabelScope labels({{"young", "yes"}});
      for (int i = 0; i < 10'000; ++i) asm volatile("" : "+r"(done));
      ++done;
    });
    thread.join();
    turn.expect(done == 1, "a thread did not run");
  }
}

}  // namespace vigil::test
