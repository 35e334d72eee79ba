// Source frames of an address from DWARF. Internal to the symbolizer; not thread-safe.
//
// Model: an address belongs to one compilation unit, in it to one concrete function (a DIE with
// code ranges), and in that to a chain of inlined subroutines, each DIE a child of the one that it
// was inlined into. The line table gives the file and line of the innermost; each inlined
// subroutine says where it was called (call_file, call_line), which is the file and line of the
// frame around it.
//
// libdw's own dwarf_getscopes walks the whole unit for each address. Here a unit's functions are
// listed once: first only those at namespace level (all of g++'s), and if that does not answer,
// those nested in classes and functions too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sampler/libdw_api.h"

namespace vigil::sampler {

// A frame before its name is demangled and shared.
struct RawFrame {
  std::string symbol;  // linkage name, or the plain name where the compiler wrote none
  std::string name;  // readable name with its scopes, where `symbol` does not have them; else empty
  std::string file;
  std::int32_t start_line = 0;
  std::int32_t line = 0;
  bool inlined = false;
};

struct RawFrames {
  std::vector<RawFrame> frames;  // innermost first; empty if the address is not described
  std::uint64_t offset = 0;      // from the entry of the last frame's function
};

class DebugInfo {
 public:
  // Both must outlive this object.
  DebugInfo(const LibdwApi& api, Dwarf* dwarf) : api_(api), dwarf_(dwarf) {}

  // `pc`: an address of the debug file (runtime address less bias).
  RawFrames frames_at(Dwarf_Addr pc);

  // Memory that libdw and this object hold for units seen so far, estimated.
  std::size_t bytes() const { return bytes_; }

 private:
  struct Range {
    Dwarf_Addr low = 0;
    Dwarf_Addr high = 0;  // exclusive
    Dwarf_Off die = 0;    // of the unit or the function
  };
  using Ranges = std::vector<Range>;  // ascending by low
  enum class Depth { kNamespaces, kEverything };

  struct Unit {
    Dwarf_Die lines{};      // the unit with the line table
    Dwarf_Die functions{};  // the same, or the split (.dwo) unit that has the rest
    Depth depth = Depth::kNamespaces;
    Ranges ranges;  // of the functions
  };

  std::optional<Dwarf_Off> unit_offset(Dwarf_Addr pc);
  Unit* unit_at(Dwarf_Addr pc);
  std::optional<Dwarf_Die> function_at(Unit& unit, Dwarf_Addr pc);
  void list_functions(Dwarf_Die& parent, Depth depth, int level, Ranges& out);
  void append_ranges(Dwarf_Die& die, Dwarf_Off id, Ranges& out);
  std::vector<Dwarf_Die> inline_chain(const Dwarf_Die& function, Dwarf_Addr pc);
  RawFrame describe(Dwarf_Die& die);
  bool is_cpp(Dwarf_Die& die);
  const std::vector<Dwarf_Off>& scopes_in(Dwarf_Die& scope);
  std::string name_with_scopes(Dwarf_Die& die, const std::string& plain);
  std::string string_attribute(Dwarf_Die& die, unsigned name);
  std::int32_t number_attribute(Dwarf_Die& die, unsigned name);
  std::string absolute(const Unit& unit, const char* file);

  const LibdwApi& api_;
  Dwarf* dwarf_;
  std::map<Dwarf_Off, Unit> units_;
  std::optional<Ranges> unit_ranges_;  // built when .debug_aranges does not answer
  std::map<const void*, std::vector<Dwarf_Off>>
      scopes_;  // by the parent DIE's place in the file; ascending
  std::size_t bytes_ = 0;
};

}  // namespace vigil::sampler
