// Which code is mapped where: the executable, shared libraries, the vdso, and code without a file
// (JIT).
//
//   Modules modules;
//   auto table = modules.refresh();
//   if (const Module* module = (*table)->find(pc)) … module->path …
//
// Built from /proc/self/maps and the ELF headers in our own memory, read fault-safely.
// dl_iterate_phdr would be simpler, but it takes the loader's lock, and a program may be stuck
// inside the loader just when somebody asks where it hangs.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sampler/maps_parser.h"

namespace vigil::sampler {

// The sorted table in a module's .eh_frame_hdr (Linux Standard Base, Core generic, 10.6.2), as an
// unwinder needs it.
struct UnwindTable {
  std::uintptr_t header = 0;  // address of .eh_frame_hdr; the entries' offsets count from it
  std::uintptr_t entries =
      0;  // address of the first pair (function start, FDE), each a signed 32-bit offset
  std::uint64_t count = 0;  // pairs

  friend bool operator==(const UnwindTable&, const UnwindTable&) = default;
};

// One executable segment of a mapped ELF file. A file with two executable segments is two modules.
struct Module {
  std::uintptr_t start = 0;       // of the executable segment in memory
  std::uintptr_t end = 0;         // exclusive; a profile's Mapping.limit
  std::uint64_t file_offset = 0;  // of `start` in the file
  std::uintptr_t load_bias = 0;   // memory address - ELF virtual address (0 for a fixed executable)
  std::uintptr_t image_start =
      0;  // all loaded segments: read-only data and unwind tables are in here
  std::uintptr_t image_end = 0;
  std::string path;      // as in MapsEntry; "[vdso]" for the kernel's
  std::string build_id;  // lower-case hex, empty without one
  bool is_main = false;  // the executable itself
  bool deleted = false;  // the file on disk is not what is mapped
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::optional<UnwindTable> unwind_table;  // none: no usable .eh_frame_hdr

  bool contains(std::uintptr_t address) const { return address >= start && address < end; }
  friend bool operator==(const Module&, const Module&) = default;
};

struct AddressRange {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;  // exclusive
  bool contains(std::uintptr_t address) const { return address >= start && address < end; }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;
};

// Immutable after building; share it freely between threads.
class ModuleTable {
 public:
  // Reads the ELF headers that `maps` points to from this process's memory. A file whose headers
  // make no sense is left out: addresses in it then have no module.
  explicit ModuleTable(const std::vector<MapsEntry>& maps);

  // The module whose executable segment holds `address`, or null. Cost: a binary search.
  const Module* find(std::uintptr_t address) const;

  // The module that has `address` anywhere in its loaded image (also in read-only data), or null.
  const Module* find_image(std::uintptr_t address) const;

  // Executable memory, whether of a module or not (JIT).
  bool is_code(std::uintptr_t address) const;

  // Ascending by start, except that the main executable comes first, where profiles want it.
  const std::vector<Module>& modules() const { return modules_; }
  // Executable memory that belongs to no module, ascending.
  const std::vector<AddressRange>& anonymous_code() const { return anonymous_code_; }
  // First address above the main thread's stack; 0 if the kernel shows no [stack].
  std::uintptr_t main_stack_end() const { return main_stack_end_; }

 private:
  std::vector<Module> modules_;
  std::vector<std::uint32_t> by_start_;  // indices into modules_, ascending by start
  std::vector<std::uint32_t> by_image_;  // the same, ascending by image_start
  std::vector<AddressRange> anonymous_code_;
  std::uintptr_t main_stack_end_ = 0;
};

// The current table of this process. Thread-safe. Takes no lock of the loader's or the allocator's
// beyond malloc itself.
class Modules {
 public:
  Modules();

  // The newest table that refresh() has built; empty before the first refresh.
  std::shared_ptr<const ModuleTable> current() const;

  // Reads /proc/self/maps again. Returns the same pointer when no module and no anonymous code
  // changed, so caches keyed by the pointer stay valid. Errors: those of opening or reading the
  // file (permission_denied, resource_exhausted). Cost: about 0.3 us a line of maps; the ELF
  // headers are read only when a line with a file or code changed.
  Result<std::shared_ptr<const ModuleTable>> refresh();

 private:
  std::mutex refresh_mutex_;  // one refresh at a time
  std::vector<MapsEntry>
      seen_;  // guarded by refresh_mutex_: the entries that `table_` was built from
  mutable std::mutex mutex_;
  std::shared_ptr<const ModuleTable> table_;  // guarded by mutex_
};

}  // namespace vigil::sampler
