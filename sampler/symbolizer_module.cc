#include "sampler/symbolizer_module.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace vigil::sampler {
namespace {

// How many entries before the nearest one may still contain an address: nested or aliased symbols.
constexpr int kOverlapMax = 16;

// A symbol without a size (assembly) reaches to the next one, or to the end of its section, at most
// this far.
constexpr std::uint64_t kUnsizedBytesMax = 4096;

}  // namespace

// 0 if the section holds no code.
std::uint64_t SymbolIndex::bytes_to_section_end(const GElf_Sym& symbol, Elf* elf,
                                                GElf_Word section) const {
  GElf_Shdr header{};
  Elf_Scn* found = api_.elf_getscn(elf, section);
  if (found == nullptr || api_.gelf_getshdr(found, &header) == nullptr ||
      (header.sh_flags & SHF_EXECINSTR) == 0 || symbol.st_value < header.sh_addr ||
      symbol.st_value - header.sh_addr >= header.sh_size) {
    return 0;
  }
  return header.sh_size - (symbol.st_value - header.sh_addr);
}

std::optional<SymbolIndex::Entry> SymbolIndex::entry_of(int number) const {
  GElf_Sym symbol{};
  GElf_Addr address = 0;
  GElf_Word section = 0;
  Elf* elf = nullptr;
  const char* name =
      api_.dwfl_module_getsym_info(module_, number, &symbol, &address, &section, &elf, nullptr);
  if (name == nullptr || *name == '\0' || symbol.st_shndx == SHN_UNDEF ||
      symbol.st_shndx == SHN_ABS) {
    return std::nullopt;
  }
  const int type = GELF_ST_TYPE(symbol.st_info);
  const bool is_local = GELF_ST_BIND(symbol.st_info) == STB_LOCAL;
  // STT_NOTYPE: labels in assembly. A local one is a jump target, not a name that anybody knows.
  const bool is_label = type == STT_NOTYPE && !is_local;
  if (type != STT_FUNC && type != STT_GNU_IFUNC && !is_label) return std::nullopt;

  std::uint64_t size = symbol.st_size;
  if (size == 0) {
    size = std::min(bytes_to_section_end(symbol, elf, section), kUnsizedBytesMax);
    if (size == 0) return std::nullopt;
  }
  Entry entry;
  entry.address = address;
  entry.symbol = number;
  entry.is_unsized = symbol.st_size == 0;
  entry.size = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(size, std::numeric_limits<std::uint32_t>::max()));
  // "nanosleep" rather than "__nanosleep", a global name rather than a local one.
  const std::size_t underscores = std::min<std::size_t>(std::strspn(name, "_"), 3);
  entry.rank = static_cast<std::uint8_t>(underscores + (is_local ? 4 : 0) + (is_label ? 8 : 0));
  return entry;
}

SymbolIndex::SymbolIndex(const LibdwApi& api, Dwfl_Module* module) : api_(api), module_(module) {
  const int count = api_.dwfl_module_getsymtab(module_);
  for (int i = 1; i < count; ++i) {  // number 0 is the null symbol
    if (const std::optional<Entry> entry = entry_of(i)) entries_.push_back(*entry);
  }
  // Among equal addresses the preferred name comes last, where the search looks first.
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.address != b.address ? a.address < b.address : a.rank > b.rank;
  });
  for (std::size_t i = 0; i + 1 < entries_.size(); ++i) {
    if (!entries_[i].is_unsized) continue;
    const std::uint64_t gap = entries_[i + 1].address - entries_[i].address;
    entries_[i].size = static_cast<std::uint32_t>(std::min<std::uint64_t>(gap, entries_[i].size));
  }
}

std::optional<SymbolIndex::Hit> SymbolIndex::find(std::uint64_t address) const {
  auto it = std::upper_bound(entries_.begin(), entries_.end(), address,
                             [](std::uint64_t a, const Entry& entry) { return a < entry.address; });
  for (int tries = 0; it != entries_.begin() && tries < kOverlapMax; ++tries) {
    --it;
    if (address - it->address >= it->size) continue;
    GElf_Sym symbol{};
    GElf_Addr start = 0;
    const char* name = api_.dwfl_module_getsym_info(module_, it->symbol, &symbol, &start, nullptr,
                                                    nullptr, nullptr);
    if (name != nullptr) return Hit{name, address - it->address};
  }
  return std::nullopt;
}

int OpenModule::find_debug_file(Dwfl_Module* module, void** userdata, const char* /*name*/,
                                Dwarf_Addr /*base*/, const char* file, const char* link,
                                GElf_Word crc, char** path) {
  if (userdata == nullptr || *userdata == nullptr) return -1;
  const auto* self = static_cast<const OpenModule*>(*userdata);
  DebugFileFinder::Wanted wanted;
  if (file != nullptr) wanted.file = file;
  if (link != nullptr) wanted.link = link;
  wanted.link_crc = crc;
  const unsigned char* bits = nullptr;
  GElf_Addr address = 0;
  if (const int size = self->api_.dwfl_module_build_id(module, &bits, &address); size > 0) {
    wanted.build_id = to_hex({reinterpret_cast<const char*>(bits), static_cast<std::size_t>(size)});
  }
  std::string found;
  UniqueFd fd = self->finder_.find(wanted, found);
  if (!fd) return -1;
  *path = ::strdup(found.c_str());  // libdwfl frees it
  return fd.release();              // and closes this
}

bool OpenModule::report(const Module& module, UniqueFd fd) {
  // find_elf is not called for modules reported with a file, section_address only for relocatable
  // ones.
  static const Dwfl_Callbacks kCallbacks = {nullptr, &OpenModule::find_debug_file, nullptr,
                                            nullptr};
  session_ = {api_.dwfl_begin(&kCallbacks), EndSession{&api_}};
  if (!session_) return false;
  api_.dwfl_report_begin_add(session_.get());
  // add_p_vaddr: the base is the load bias, to which the program headers' addresses are added.
  module_ = api_.dwfl_report_elf(session_.get(), module.path.c_str(), module.path.c_str(), fd.get(),
                                 module.load_bias, /*add_p_vaddr=*/true);
  if (module_ != nullptr) static_cast<void>(fd.release());  // libdwfl's now
  if (api_.dwfl_report_end(session_.get(), nullptr, nullptr) != 0 || module_ == nullptr) {
    return false;
  }
  void** userdata = nullptr;
  api_.dwfl_module_info(module_, &userdata, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  *userdata = this;
  GElf_Addr bias = 0;
  return api_.dwfl_module_getelf(module_, &bias) != nullptr;
}

std::unique_ptr<OpenModule> OpenModule::open(const LibdwApi& api, const Module& module,
                                             const DebugFileFinder& finder) {
  UniqueFd fd = open_module_file(api, module);
  if (!fd) return nullptr;
  std::unique_ptr<OpenModule> opened(new OpenModule(api, finder));
  return opened->report(module, std::move(fd)) ? std::move(opened) : nullptr;
}

void OpenModule::load_debug_info() {
  debug_info_loaded_ = true;
  if (Dwarf* dwarf = api_.dwfl_module_getdwarf(module_, &debug_bias_); dwarf != nullptr) {
    debug_info_.emplace(api_, dwarf);
  }
}

const SymbolIndex& OpenModule::symbols() {
  if (!symbols_) symbols_.emplace(api_, module_);
  return *symbols_;
}

// g++ writes no linkage name for functions with internal linkage; their mangled name is in .symtab
// alone. With -g1 it writes no scopes either: the mangled name has them.
void OpenModule::take_linker_name(std::uintptr_t address, RawFrame& frame) {
  const auto hit = symbols().find(address);
  if (!hit || !hit->name.starts_with("_Z")) return;
  frame.symbol = hit->name;
  if (frame.name.find("::") == std::string::npos) frame.name.clear();
}

RawFrames OpenModule::frames_at(std::uintptr_t address) {
  if (!debug_info_loaded_) load_debug_info();
  if (debug_info_) {
    RawFrames result = debug_info_->frames_at(address - debug_bias_);
    if (!result.frames.empty()) {
      if (!result.frames.back().name.empty()) take_linker_name(address, result.frames.back());
      return result;
    }
  }
  RawFrames result;
  if (const auto hit = symbols().find(address)) {
    RawFrame frame;
    frame.symbol = hit->name;
    result.frames.push_back(std::move(frame));
    result.offset = hit->offset;
  }
  return result;
}

std::size_t OpenModule::bytes() const {
  return (debug_info_ ? debug_info_->bytes() : 0) + (symbols_ ? symbols_->bytes() : 0);
}

}  // namespace vigil::sampler
