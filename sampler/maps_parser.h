// The text of /proc/PID/maps (proc(5)) as values. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vigil::sampler {

// One line: "55d0c3a00000-55d0c3a02000 r-xp 00001000 fe:00 1234   /usr/bin/server (deleted)".
struct MapsEntry {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;  // exclusive, > start
  bool readable = false;
  bool writable = false;
  bool executable = false;
  std::uint64_t file_offset = 0;
  std::uint64_t device = 0;  // major << 32 | minor
  std::uint64_t inode = 0;   // 0: no file
  // The file as the kernel names it, with "\012" decoded to a newline (the only escape it writes)
  // and " (deleted)" removed; "[stack]", "[vdso]", … for special ranges; empty for anonymous
  // memory.
  std::string path;
  bool deleted = false;  // the name ended in " (deleted)": the file was unlinked or replaced since
                         // it was mapped

  friend bool operator==(const MapsEntry&, const MapsEntry&) = default;
};

// One line without its newline; nothing if it is not of that form (an unknown kernel's, or cut in
// the middle).
std::optional<MapsEntry> parse_maps_line(std::string_view line);

// All lines, in the kernel's order (ascending). Lines that do not parse, and a last line without a
// newline, are skipped.
std::vector<MapsEntry> parse_maps(std::string_view text);

}  // namespace vigil::sampler
