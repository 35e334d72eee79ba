#include "sampler/symbolizer_dwarf.h"

#include <algorithm>
#include <limits>

#include <dwarf.h>

namespace vigil::sampler {
namespace {

// Nesting of scopes that is followed; more is a damaged file.
constexpr int kNestingMax = 64;

// libdw 0.188 keeps 56 bytes for a line record (struct Dwarf_Line_s) and as much again while it
// reads them.
constexpr std::size_t kLineBytes = 56;

template <typename Ranges>
auto find_range(const Ranges& ranges, Dwarf_Addr pc) -> decltype(ranges.data()) {
  auto it = std::upper_bound(ranges.begin(), ranges.end(), pc,
                             [](Dwarf_Addr a, const auto& range) { return a < range.low; });
  if (it == ranges.begin()) return nullptr;
  --it;
  return pc < it->high ? &*it : nullptr;
}

template <typename Ranges>
void sort_ranges(Ranges& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.low < b.low; });
}

// Scopes inside a function that may contain inlined subroutines.
bool is_code_scope(int tag) {
  return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
         tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

// Scopes in which g++ and clang put functions at the first level, and those in which they may nest
// them.
bool may_hold_functions(int tag, bool everything) {
  if (tag == DW_TAG_namespace || tag == DW_TAG_module) return true;
  return everything &&
         (tag == DW_TAG_class_type || tag == DW_TAG_structure_type || tag == DW_TAG_union_type ||
          tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block);
}

// Where functions can be nested, and functions themselves.
bool is_scope(int tag) {
  return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type ||
         tag == DW_TAG_union_type || tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block;
}

}  // namespace

void DebugInfo::append_ranges(Dwarf_Die& die, Dwarf_Off id, Ranges& out) {
  Dwarf_Addr base = 0;
  Dwarf_Addr low = 0;
  Dwarf_Addr high = 0;
  for (ptrdiff_t at = 0; (at = api_.dwarf_ranges(&die, at, &base, &low, &high)) > 0;) {
    // low 0: a function that the linker threw away (--gc-sections), not code.
    if (low != 0 && low < high) out.push_back({low, high, id});
  }
}

std::optional<Dwarf_Off> DebugInfo::unit_offset(Dwarf_Addr pc) {
  Dwarf_Aranges* aranges = nullptr;
  std::size_t count = 0;
  // libdw reads the section once and keeps it.
  if (api_.dwarf_getaranges(dwarf_, &aranges, &count) == 0 && count > 0) {
    Dwarf_Off offset = 0;
    Dwarf_Arange* range = api_.dwarf_getarange_addr(aranges, pc);
    if (range != nullptr && api_.dwarf_getarangeinfo(range, nullptr, nullptr, &offset) == 0) {
      return offset;
    }
  }
  // clang writes no .debug_aranges, and libdw has no other index: list the units' own ranges once.
  // It reads one DIE of each unit.
  if (!unit_ranges_) {
    unit_ranges_.emplace();
    Dwarf_CU* unit = nullptr;
    Dwarf_Die die{};
    Dwarf_Half version = 0;
    std::uint8_t type = 0;
    while (api_.dwarf_get_units(dwarf_, unit, &unit, &version, &type, &die, nullptr) == 0) {
      append_ranges(die, api_.dwarf_dieoffset(&die), *unit_ranges_);
    }
    sort_ranges(*unit_ranges_);
    bytes_ += unit_ranges_->size() * sizeof(Range);
  }
  const Range* range = find_range(*unit_ranges_, pc);
  return range != nullptr ? std::optional(range->die) : std::nullopt;
}

DebugInfo::Unit* DebugInfo::unit_at(Dwarf_Addr pc) {
  const std::optional<Dwarf_Off> offset = unit_offset(pc);
  if (!offset) return nullptr;
  const auto [it, is_new] = units_.try_emplace(*offset);
  Unit& unit = it->second;
  if (!is_new) return &unit;
  if (api_.dwarf_offdie(dwarf_, *offset, &unit.lines) == nullptr) {
    units_.erase(it);
    return nullptr;
  }
  unit.functions = unit.lines;
  Dwarf_Die split{};
  std::uint8_t type = 0;
  if (api_.dwarf_cu_info(unit.lines.cu, nullptr, &type, nullptr, &split, nullptr, nullptr,
                         nullptr) == 0 &&
      type == DW_UT_skeleton && split.addr != nullptr) {
    unit.functions = split;
  }
  list_functions(unit.functions, unit.depth, 0, unit.ranges);
  sort_ranges(unit.ranges);
  Dwarf_Lines* lines = nullptr;
  std::size_t count = 0;
  if (api_.dwarf_getsrclines(&unit.lines, &lines, &count) == 0) bytes_ += count * kLineBytes;
  bytes_ += unit.ranges.size() * sizeof(Range);
  return &unit;
}

void DebugInfo::list_functions(Dwarf_Die& parent, Depth depth, int level, Ranges& out) {
  Dwarf_Die die{};
  if (level > kNestingMax || api_.dwarf_child(&parent, &die) != 0) return;
  do {
    const int tag = api_.dwarf_tag(&die);
    if (tag == DW_TAG_subprogram) append_ranges(die, api_.dwarf_dieoffset(&die), out);
    if (may_hold_functions(tag, depth == Depth::kEverything)) {
      list_functions(die, depth, level + 1, out);
    }
  } while (api_.dwarf_siblingof(&die, &die) == 0);
}

std::optional<Dwarf_Die> DebugInfo::function_at(Unit& unit, Dwarf_Addr pc) {
  const Range* range = find_range(unit.ranges, pc);
  if (range == nullptr && unit.depth == Depth::kNamespaces) {
    unit.depth = Depth::kEverything;
    unit.ranges.clear();
    list_functions(unit.functions, unit.depth, 0, unit.ranges);
    sort_ranges(unit.ranges);
    bytes_ += unit.ranges.size() * sizeof(Range);
    range = find_range(unit.ranges, pc);
  }
  Dwarf_Die die{};
  if (range == nullptr ||
      api_.dwarf_offdie(api_.dwarf_cu_getdwarf(unit.functions.cu), range->die, &die) == nullptr) {
    return std::nullopt;
  }
  return die;
}

std::vector<Dwarf_Die> DebugInfo::inline_chain(const Dwarf_Die& function, Dwarf_Addr pc) {
  std::vector<Dwarf_Die> chain{function};
  Dwarf_Die scope = function;
  for (int level = 0; level < kNestingMax; ++level) {
    Dwarf_Die child{};
    if (api_.dwarf_child(&scope, &child) != 0) break;
    bool found = false;
    do {
      found = is_code_scope(api_.dwarf_tag(&child)) && api_.dwarf_haspc(&child, pc) > 0;
    } while (!found && api_.dwarf_siblingof(&child, &child) == 0);
    if (!found) break;
    scope = child;
    if (api_.dwarf_tag(&scope) == DW_TAG_inlined_subroutine) chain.push_back(scope);
  }
  return chain;
}

std::string DebugInfo::string_attribute(Dwarf_Die& die, unsigned name) {
  Dwarf_Attribute attribute{};
  if (api_.dwarf_attr_integrate(&die, name, &attribute) == nullptr) return {};
  const char* text = api_.dwarf_formstring(&attribute);
  return text != nullptr ? text : std::string();
}

std::int32_t DebugInfo::number_attribute(Dwarf_Die& die, unsigned name) {
  Dwarf_Attribute attribute{};
  Dwarf_Word value = 0;
  if (api_.dwarf_attr_integrate(&die, name, &attribute) == nullptr ||
      api_.dwarf_formudata(&attribute, &value) != 0 ||
      value > static_cast<Dwarf_Word>(std::numeric_limits<std::int32_t>::max())) {
    return 0;
  }
  return static_cast<std::int32_t>(value);
}

// Kept, because a large unit has ten thousands of children: 3 ms a function without it.
const std::vector<Dwarf_Off>& DebugInfo::scopes_in(Dwarf_Die& scope) {
  const auto [it, is_new] = scopes_.try_emplace(scope.addr);
  std::vector<Dwarf_Off>& offsets = it->second;
  Dwarf_Die child{};
  if (!is_new || api_.dwarf_child(&scope, &child) != 0) return offsets;
  do {
    if (is_scope(api_.dwarf_tag(&child))) offsets.push_back(api_.dwarf_dieoffset(&child));
  } while (api_.dwarf_siblingof(&child, &child) == 0);
  bytes_ += offsets.size() * sizeof(Dwarf_Off);
  return offsets;
}

// Functions with internal linkage (static, in an unnamed namespace, members of local classes) get
// no linkage name from g++, so their scopes are read from the tree. A DIE does not know its parent,
// but offsets nest: on each level the scope that holds an offset is the last one that begins before
// it.
std::string DebugInfo::name_with_scopes(Dwarf_Die& die, const std::string& plain) {
  Dwarf_Die origin = die;
  for (int level = 0; level < kNestingMax; ++level) {
    Dwarf_Attribute reference{};
    Dwarf_Die next{};
    if ((api_.dwarf_attr(&origin, DW_AT_abstract_origin, &reference) == nullptr &&
         api_.dwarf_attr(&origin, DW_AT_specification, &reference) == nullptr) ||
        api_.dwarf_formref_die(&reference, &next) == nullptr) {
      break;
    }
    origin = next;
  }
  const Dwarf_Off target = api_.dwarf_dieoffset(&origin);
  std::string name;
  Dwarf_Die scope{};
  if (api_.dwarf_diecu(&origin, &scope, nullptr, nullptr) == nullptr) return plain;
  for (int level = 0; level < kNestingMax; ++level) {
    const std::vector<Dwarf_Off>& children = scopes_in(scope);
    const auto behind = std::upper_bound(children.begin(), children.end(), target);
    if (behind == children.begin() || *(behind - 1) == target) break;
    Dwarf_Die holder{};
    if (api_.dwarf_offdie(api_.dwarf_cu_getdwarf(scope.cu), *(behind - 1), &holder) == nullptr) {
      break;
    }
    if (const int tag = api_.dwarf_tag(&holder); tag != DW_TAG_lexical_block) {
      std::string part = string_attribute(holder, DW_AT_name);
      if (part.empty()) part = tag == DW_TAG_namespace ? "(anonymous namespace)" : "{unnamed}";
      name += part + "::";
    }
    scope = holder;
  }
  return name + plain;
}

RawFrame DebugInfo::describe(Dwarf_Die& die) {
  RawFrame frame;
  frame.symbol = string_attribute(die, DW_AT_linkage_name);
  if (frame.symbol.empty()) frame.symbol = string_attribute(die, DW_AT_MIPS_linkage_name);
  if (frame.symbol.empty()) {
    frame.symbol = string_attribute(die, DW_AT_name);
    // C has no scopes; an external function without a linkage name is extern "C", or main.
    Dwarf_Attribute external{};
    if (!frame.symbol.empty() && is_cpp(die) &&
        api_.dwarf_attr_integrate(&die, DW_AT_external, &external) == nullptr) {
      frame.name = name_with_scopes(die, frame.symbol);
    }
  }
  frame.start_line = number_attribute(die, DW_AT_decl_line);
  frame.inlined = api_.dwarf_tag(&die) == DW_TAG_inlined_subroutine;
  return frame;
}

bool DebugInfo::is_cpp(Dwarf_Die& die) {
  Dwarf_Die unit{};
  if (api_.dwarf_diecu(&die, &unit, nullptr, nullptr) == nullptr) return false;
  switch (api_.dwarf_srclang(&unit)) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
      return true;  // g++ and clang write no later ones in DWARF 5
    default:
      return false;
  }
}

std::string DebugInfo::absolute(const Unit& unit, const char* file) {
  if (file == nullptr) return {};
  if (*file == '/') return file;
  Dwarf_Die die = unit.lines;
  const std::string directory = string_attribute(die, DW_AT_comp_dir);
  return directory.empty() ? file : directory + "/" + file;
}

RawFrames DebugInfo::frames_at(Dwarf_Addr pc) {
  RawFrames result;
  Unit* unit = unit_at(pc);
  if (unit == nullptr) return result;
  const std::optional<Dwarf_Die> function = function_at(*unit, pc);
  if (!function) return result;

  std::string file;
  std::int32_t line = 0;
  if (Dwarf_Line* record = api_.dwarf_getsrc_die(&unit->lines, pc); record != nullptr) {
    int number = 0;
    if (api_.dwarf_lineno(record, &number) == 0) line = number;
    file = absolute(*unit, api_.dwarf_linesrc(record, nullptr, nullptr));
  }
  Dwarf_Files* files = nullptr;
  std::size_t file_count = 0;
  if (api_.dwarf_getsrcfiles(&unit->functions, &files, &file_count) != 0) files = nullptr;

  std::vector<Dwarf_Die> chain = inline_chain(*function, pc);
  for (auto die = chain.rbegin(); die != chain.rend(); ++die) {
    RawFrame frame = describe(*die);
    frame.file = std::move(file);
    frame.line = line;
    result.frames.push_back(std::move(frame));
    // The caller's frame is where this one was called.
    const auto call_file = static_cast<std::size_t>(number_attribute(*die, DW_AT_call_file));
    line = number_attribute(*die, DW_AT_call_line);
    file = files != nullptr && call_file < file_count
               ? absolute(*unit, api_.dwarf_filesrc(files, call_file, nullptr, nullptr))
               : std::string();
  }
  if (result.frames.back().symbol.empty()) return {};
  Dwarf_Addr entry = 0;
  if (api_.dwarf_entrypc(&chain.front(), &entry) == 0 && entry <= pc) result.offset = pc - entry;
  return result;
}

}  // namespace vigil::sampler
