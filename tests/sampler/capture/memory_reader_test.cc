#include "sampler/memory_reader.h"

#include <errno.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

// Three pages: readable, readable, and a last one with `protection`.
class ThreePages {
 public:
  explicit ThreePages(int protection)
      : memory_(static_cast<std::byte*>(mmap(nullptr, 3 * kPageBytes, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    std::memset(memory_, 0x5a, 2 * kPageBytes);
    mprotect(memory_ + 2 * kPageBytes, kPageBytes, protection);
  }
  ~ThreePages() { munmap(memory_, 3 * kPageBytes); }

  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(memory_); }

 private:
  std::byte* memory_;
};

TEST_CASE("a read stops at the first unreadable page") {
  const ThreePages pages(PROT_NONE);
  std::vector<std::byte> into(3 * kPageBytes);
  const std::uintptr_t end = pages.address() + 2 * kPageBytes;
  CHECK(read_memory_prefix(pages.address(), into) == 2 * kPageBytes);
  CHECK(into[2 * kPageBytes - 1] == std::byte{0x5a});
  CHECK(read_memory_prefix(end - 1, into) == 1);
  CHECK(read_memory_prefix(end, into) == 0);
  CHECK(read_memory(end - 8, std::span(into).first(8)));
  CHECK_FALSE(read_memory(end - 8, std::span(into).first(9)));
}

TEST_CASE("a hole is as unreadable as a guard page") {
  auto* memory = static_cast<std::byte*>(
      mmap(nullptr, 2 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(memory + kPageBytes, kPageBytes);
  std::vector<std::byte> into(2 * kPageBytes);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  CHECK(read_memory_prefix(address + 100, into) == kPageBytes - 100);
  munmap(memory, kPageBytes);
}

TEST_CASE("wild addresses give nothing and keep errno") {
  std::byte into[64];
  errno = EDOM;
  for (const std::uintptr_t address :
       {std::uintptr_t{0}, std::uintptr_t{1}, std::uintptr_t{0x8000000000000000}, UINTPTR_MAX,
        UINTPTR_MAX - 32, std::uintptr_t{0xffffffff81000000}}) {
    CAPTURE(address);
    CHECK(read_memory_prefix(address, into) == 0);
  }
  CHECK(errno == EDOM);
}

TEST_CASE("the page cache reads words across pages and at the edge") {
  const ThreePages pages(PROT_NONE);
  PageCache cache;
  const std::uint64_t filled = 0x5a5a5a5a5a5a5a5a;
  CHECK(cache.read_word(pages.address() + 3) == filled);
  CHECK(cache.read_word(pages.address() + kPageBytes - 4) == filled);
  CHECK(cache.read_word(pages.address() + 2 * kPageBytes - 8) == filled);
  CHECK_FALSE(cache.read_word(pages.address() + 2 * kPageBytes - 7));
  CHECK_FALSE(cache.read_word(pages.address() + 2 * kPageBytes));
  CHECK_FALSE(cache.read_word(UINTPTR_MAX - 3));
  CHECK(cache.size() == 2);
}

TEST_CASE("the page cache stays within its bound, and forgets on clear") {
  const ThreePages pages(PROT_READ);
  PageCache cache(2);
  for (int page : {0, 1, 2, 0, 1, 2}) {
    CHECK(cache.read_word(pages.address() + static_cast<std::size_t>(page) * kPageBytes));
    CHECK(cache.size() <= 2);
  }
  auto* word = reinterpret_cast<std::uint64_t*>(pages.address());
  cache.clear();
  REQUIRE(cache.read_word(pages.address()) == *word);
  *word = 42;
  CHECK(cache.read_word(pages.address()) == 0x5a5a5a5a5a5a5a5a);
  cache.clear();
  CHECK(cache.read_word(pages.address()) == 42);
}

}  // namespace
}  // namespace vigil::sampler
