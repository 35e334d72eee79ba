// The parts of an ELF file that matter to a sampler, read from where the loader put it in our
// memory.
//
// Everything is read fault-safely and bounded: a garbage header is refused, not followed. No
// symbols here; these need the file on disk (symbolizer.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sampler/module_table.h"

namespace vigil::sampler {

struct ElfSegment {
  std::uintptr_t start = 0;  // in memory
  std::uintptr_t end = 0;    // exclusive, start + memsz
  std::uint64_t file_offset = 0;
};

struct ElfImage {
  std::uintptr_t load_bias = 0;
  std::uintptr_t image_start = 0;  // lowest and highest loaded address
  std::uintptr_t image_end = 0;
  std::vector<ElfSegment> code;  // executable PT_LOADs, in the file's order
  std::string build_id;          // lower-case hex; empty without a GNU build-id note
  std::optional<UnwindTable> unwind_table;
};

// The image whose ELF header is at `header` in memory, as its first page was mapped from the file's
// start. Nothing if it is no 64-bit little-endian x86-64 ELF file, or its program headers make no
// sense (more than 256, ranges that wrap around, no loaded segment at file offset 0, nothing
// loaded at all).
std::optional<ElfImage> read_elf_image(std::uintptr_t header);

}  // namespace vigil::sampler
