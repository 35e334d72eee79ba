// From code addresses to source frames: function, file, line and the frames that the compiler
// inlined.
//
//   auto symbolizer = Symbolizer::create({});
//   SymbolizedAddress where = (*symbolizer)->symbolize(frame, modules);
//   for (const SourceFrame& f : where.frames()) print(f.function->name, f.function->file, f.line);
//
// What is read: the ELF file of the module, its separate debug file (by build-id below
// /usr/lib/debug/.build-id, or by .gnu_debuglink), and for the vdso a copy of its pages. Never the
// network: debuginfod is not asked. Never a wrong name: a file that does not carry the build-id of
// the mapped module (replaced, deleted) is not used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "sampler/address.h"
#include "sampler/module_table.h"

namespace vigil::sampler {

// One function as the sources name it. Immutable and shared by all frames that show it.
struct SourceFunction {
  std::string
      name;  // readable, without parameters: "demo::checksum", "(anonymous namespace)::poll"
  std::string system_name;  // as the linker sees it: "_ZN4demo8checksumEv"; equal to `name` for C
  std::string file;         // absolute where the compiler recorded its directory; empty if unknown
  std::int32_t start_line = 0;  // of the declaration; 0 if unknown

  friend auto operator<=>(const SourceFunction&, const SourceFunction&) = default;
};

// One source frame of an address.
struct SourceFrame {
  std::shared_ptr<const SourceFunction> function;  // never null
  std::int32_t line = 0;                           // 0 if unknown
  bool inlined = false;  // the compiler put it into the next frame of the list
};

// What is known of one address. Cheap to copy (one shared pointer); valid for as long as it is
// held.
class SymbolizedAddress {
 public:
  struct Data {
    std::vector<SourceFrame> frames;
    std::uint64_t offset = 0;
  };

  SymbolizedAddress() = default;
  explicit SymbolizedAddress(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  // Innermost inlined function first; the last is the function that the linker knows. Empty when
  // nothing is known: show module_offset_name() instead.
  std::span<const SourceFrame> frames() const {
    return data_ ? std::span<const SourceFrame>(data_->frames) : std::span<const SourceFrame>();
  }
  bool known() const { return !frames().empty(); }

  // Bytes from the entry of the last frame's function to the address; 0 if unknown.
  std::uint64_t offset() const { return data_ ? data_->offset : 0; }

 private:
  std::shared_ptr<const Data> data_;
};

// "libfoo.so+0x1234" (an address of the file, as addr2line takes it), or "0x7f…" outside every
// module. For texts only.
std::string module_offset_name(std::uintptr_t address, const Module* module);

struct SymbolizerOptions {
  // Addresses kept with their answer, 1 or more. When this many are new since the last time, those
  // not asked for meanwhile are dropped: so up to twice as many are held. About 150 bytes each.
  std::size_t cached_addresses_max = 32 * 1024;

  // Modules kept open, 1 or more; the one unused for longest is closed. Each maps its file, and
  // holds the line tables and abbreviations that were needed so far.
  std::size_t open_modules_max = 64;

  // Where distributions put debug files. Empty: only next to the binary.
  std::string debug_root = "/usr/lib/debug";
};

struct SymbolizerStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t modules_rejected = 0;  // the file is gone, is no ELF file, or is not what is mapped
};

// Thread-safe: one caller at a time looks up, the others wait. Not for signal handlers. After
// create() it takes no lock of the loader or of anything but itself and malloc.
//
// Cost: 0.04 us for an address seen before. A new one costs 25 us on average in an 8 MB program,
// 0.3 ms in a 98 MB library of three huge compilation units; the first in a unit reads its line
// table and function list (1 to 50 ms by its size).
class Symbolizer {
 public:
  // unsupported when libdw is not installed (the message names the package); invalid_argument for a
  // zero bound. Call it when the agent is armed, not when a dump is wanted (libdw_api.h says why).
  static Result<std::unique_ptr<Symbolizer>> create(SymbolizerOptions options);
  ~Symbolizer();

  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  // `modules`: the table that was current when the address was captured. An address outside every
  // module, or in one whose file cannot be used, gives an answer without frames. Where the process has few
  // descriptors left, other modules are closed for this one; with none, the answer is without frames until there are.
  SymbolizedAddress symbolize(FrameAddress address, const ModuleTable& modules);

  SymbolizerStats stats() const;

 private:
  class Impl;
  explicit Symbolizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::sampler
