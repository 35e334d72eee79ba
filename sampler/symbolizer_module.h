// One module opened for symbolization. Internal to the symbolizer; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sampler/libdw_api.h"
#include "sampler/module_table.h"
#include "sampler/symbolizer_debugfile.h"
#include "sampler/symbolizer_dwarf.h"

namespace vigil::sampler {

// The functions of an ELF symbol table, by address: .symtab of the binary or its debug file, else
// .dynsym. libdwfl has a look-up of its own (dwfl_module_addrinfo), which goes through all symbols
// each time: 1 ms for 100,000.
class SymbolIndex {
 public:
  SymbolIndex(const LibdwApi& api, Dwfl_Module* module);

  struct Hit {
    std::string_view name;  // belongs to the file
    std::uint64_t offset = 0;
  };

  // The function that holds `address` (a runtime address), or nothing between functions.
  std::optional<Hit> find(std::uint64_t address) const;

  std::size_t bytes() const { return entries_.size() * sizeof(Entry); }

 private:
  struct Entry {
    std::uint64_t address = 0;
    std::uint32_t size = 0;
    std::int32_t symbol = 0;  // libdwfl's number
    std::uint8_t rank = 0;    // of several names for one address the lowest is shown
    bool is_unsized = false;  // `size` is a guess, ended by the next symbol
  };
  std::optional<Entry> entry_of(int number) const;
  std::uint64_t bytes_to_section_end(const GElf_Sym& symbol, Elf* elf, GElf_Word section) const;

  const LibdwApi& api_;
  Dwfl_Module* module_;
  std::vector<Entry> entries_;
};

// A libdwfl session for one module, so that a library which was unloaded, and another one at the
// same place, cannot meet in one session, and closing a module frees all that it holds.
class OpenModule {
 public:
  // Null if the file is not there or is not what is mapped.
  static std::unique_ptr<OpenModule> open(const LibdwApi& api, const Module& module,
                                          const DebugFileFinder& finder);

  // Source frames of a runtime address; from the symbol table alone where there is no debug
  // information. Empty if neither knows it.
  RawFrames frames_at(std::uintptr_t address);

  // Memory held for it, estimated; it grows with the parts of the file that are asked for.
  std::size_t bytes() const;

 private:
  OpenModule(const LibdwApi& api, const DebugFileFinder& finder) : api_(api), finder_(finder) {}
  static int find_debug_file(Dwfl_Module* module, void** userdata, const char* name,
                             Dwarf_Addr base, const char* file, const char* link, GElf_Word crc,
                             char** path);
  bool report(const Module& module, UniqueFd fd);
  void load_debug_info();
  const SymbolIndex& symbols();
  void take_linker_name(std::uintptr_t address, RawFrame& frame);

  struct EndSession {
    const LibdwApi* api;
    void operator()(Dwfl* session) const { api->dwfl_end(session); }
  };

  const LibdwApi& api_;
  const DebugFileFinder& finder_;
  std::unique_ptr<Dwfl, EndSession> session_{nullptr, EndSession{nullptr}};
  Dwfl_Module* module_ = nullptr;
  bool debug_info_loaded_ = false;
  Dwarf_Addr debug_bias_ = 0;
  std::optional<DebugInfo> debug_info_;
  std::optional<SymbolIndex> symbols_;
};

}  // namespace vigil::sampler
