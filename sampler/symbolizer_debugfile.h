// Which file holds a module's code and which its debug information. Internal to the symbolizer.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "sampler/libdw_api.h"
#include "sampler/module_table.h"

namespace vigil::sampler {

// Opens the ELF file of `module` for reading: its path; /proc/self/exe for a main program whose
// file is gone or replaced; a copy of the pages for the vdso. "None" if it cannot be opened, or is
// certainly another file than the mapped one.
UniqueFd open_module_file(const LibdwApi& api, const Module& module);

// The build-id of an ELF file as lower-case hex; empty if it has none or is no ELF file. Does not
// move or close `fd`.
std::string build_id_of(const LibdwApi& api, int fd);

std::string to_hex(std::string_view bytes);

// Looks for separate debug files as gdb does, and only on this machine's disk
// (https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html). libdwfl's
// standard callback would go on to ask a debuginfod server, which a profiler inside a production
// server must never do.
class DebugFileFinder {
 public:
  DebugFileFinder(const LibdwApi& api, std::string debug_root)
      : api_(api), debug_root_(std::move(debug_root)) {}

  // What to look for: all three may be empty or zero.
  struct Wanted {
    std::string file;      // path of the binary
    std::string build_id;  // lower-case hex
    std::string link;      // file name in .gnu_debuglink
    std::uint32_t link_crc = 0;
  };

  // An open debug file whose build-id (or, without one, whose checksum) fits; its path goes to
  // `path`. Or none.
  UniqueFd find(const Wanted& wanted, std::string& path) const;

 private:
  bool fits(int fd, const Wanted& wanted) const;

  const LibdwApi& api_;
  std::string debug_root_;
};

}  // namespace vigil::sampler
