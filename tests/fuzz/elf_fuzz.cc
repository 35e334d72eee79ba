// An ELF image in our own memory that is not what it seems: read with bounds, refused or described,
// never followed out of its segment.

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "sampler/elf_image.h"
#include "sampler/module_table.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vigil::sampler;
using vigil::fuzz::fuzz_require;

// Two pages with unreadable ones around them, as after another library's end.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kImageBytes = 2 * kPage;

std::uint8_t* image_memory() {
  static std::uint8_t* const kMemory = [] {
    void* all =
        mmap(nullptr, kImageBytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fuzz_require(all != MAP_FAILED, "memory for the image");
    auto* const image = static_cast<std::uint8_t*>(all) + kPage;
    fuzz_require(mprotect(image, kImageBytes, PROT_READ | PROT_WRITE) == 0, "readable memory");
    return image;
  }();
  return kMemory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint8_t* const image = image_memory();
  std::fill_n(image, kImageBytes, std::uint8_t{0});
  std::copy_n(data, std::min(size, kImageBytes), image);
  const auto header = reinterpret_cast<std::uintptr_t>(image);
  if (const auto elf = read_elf_image(header)) {
    fuzz_require(elf->image_start < elf->image_end, "an image has a size");
    for (const ElfSegment& segment : elf->code) {
      fuzz_require(segment.start <= segment.end, "a segment does not wrap around");
      fuzz_require(segment.start >= elf->image_start && segment.end <= elf->image_end,
                   "a segment lies in its image");
    }
    fuzz_require(elf->build_id.size() % 2 == 0, "a build id is whole bytes");
  }
  MapsEntry entry;
  entry.start = header;
  entry.end = header + kImageBytes;
  entry.readable = entry.executable = true;
  entry.inode = 1;
  entry.path = "/fuzz.so";
  const ModuleTable table({entry});
  for (const Module& module : table.modules()) {
    fuzz_require(module.start < module.end, "a module has a size");
  }
  (void)table.find(header + 1);
  (void)table.find_image(header + 1);
  return 0;
}
