#include "sampler/module_table.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>
#include <numeric>
#include <utility>

#include "sampler/elf_image.h"
#include "sampler/proc_file.h"

namespace vigil::sampler {
namespace {

using FileId = std::pair<std::uint64_t, std::uint64_t>;

FileId file_of(const MapsEntry& entry) { return {entry.device, entry.inode}; }

// Can hold code of a module: a file's mapping, or the kernel's vdso. ([vsyscall] is emulated and
// has no ELF header.)
bool is_image(const MapsEntry& entry) { return entry.inode != 0 || entry.path == "[vdso]"; }

// What the table depends on. Heaps, stacks and data come and go without changing it.
bool concerns_code(const MapsEntry& entry) {
  return entry.executable || (is_image(entry) && entry.file_offset == 0) || entry.path == "[stack]";
}

// The entry that has `address`, or null; `maps` ascends.
const MapsEntry* entry_at(const std::vector<MapsEntry>& maps, std::uintptr_t address) {
  const auto after =
      std::upper_bound(maps.begin(), maps.end(), address,
                       [](std::uintptr_t a, const MapsEntry& entry) { return a < entry.start; });
  if (after == maps.begin()) return nullptr;
  const MapsEntry& entry = *std::prev(after);
  return address < entry.end ? &entry : nullptr;
}

std::string executable_path() {
  std::string path(PATH_MAX, '\0');
  const ssize_t length = readlink("/proc/thread-self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

// The modules of the image whose first page is `first`. A file that was mapped to be read (a
// symbolizer does) has no executable memory where its headers say there is code, and is no module.
std::vector<Module> modules_of(const MapsEntry& first, const std::vector<MapsEntry>& maps) {
  std::vector<Module> modules;
  const std::optional<ElfImage> image = read_elf_image(first.start);
  if (!image) return modules;
  for (const ElfSegment& segment : image->code) {
    const MapsEntry* mapped = entry_at(maps, segment.start);
    // Anonymous is possible: programs move their text to huge pages.
    if (mapped == nullptr || !mapped->executable ||
        (is_image(*mapped) && file_of(*mapped) != file_of(first))) {
      continue;
    }
    Module module;
    module.start = segment.start;
    module.end = segment.end;
    module.file_offset = segment.file_offset;
    module.load_bias = image->load_bias;
    module.image_start = image->image_start;
    module.image_end = image->image_end;
    module.path = first.path;
    module.build_id = image->build_id;
    module.deleted = first.deleted;
    module.device = first.device;
    module.inode = first.inode;
    module.unwind_table = image->unwind_table;
    modules.push_back(std::move(module));
  }
  return modules;
}

std::vector<std::uint32_t> sorted_indices(const std::vector<Module>& modules,
                                          std::uintptr_t Module::*key) {
  std::vector<std::uint32_t> indices(modules.size());
  std::iota(indices.begin(), indices.end(), 0u);
  std::sort(indices.begin(), indices.end(),
            [&](std::uint32_t a, std::uint32_t b) { return modules[a].*key < modules[b].*key; });
  return indices;
}

// The last module of `order` whose `key` is not above `address`, or null.
const Module* last_not_above(const std::vector<Module>& modules,
                             const std::vector<std::uint32_t>& order, std::uintptr_t Module::*key,
                             std::uintptr_t address) {
  const auto after = std::upper_bound(
      order.begin(), order.end(), address,
      [&](std::uintptr_t a, std::uint32_t index) { return a < modules[index].*key; });
  return after == order.begin() ? nullptr : &modules[*std::prev(after)];
}

}  // namespace

ModuleTable::ModuleTable(const std::vector<MapsEntry>& maps) {
  const std::string main_path = executable_path();
  std::map<FileId, bool> has_code;
  for (const MapsEntry& entry : maps) {
    if (is_image(entry) && entry.executable) has_code[file_of(entry)] = true;
  }
  for (const MapsEntry& entry : maps) {
    if (entry.path == "[stack]") main_stack_end_ = entry.end;
    if (!is_image(entry) || entry.file_offset != 0 || !entry.readable) continue;
    if (!has_code.contains(file_of(entry))) continue;
    for (Module& module : modules_of(entry, maps)) modules_.push_back(std::move(module));
  }
  const auto is_main = [&](const Module& module) { return module.path == main_path; };
  if (const auto found = std::find_if(modules_.begin(), modules_.end(), is_main);
      found != modules_.end()) {
    found->is_main = true;
    std::rotate(modules_.begin(), found, std::next(found));
  }
  by_start_ = sorted_indices(modules_, &Module::start);
  by_image_ = sorted_indices(modules_, &Module::image_start);
  for (const MapsEntry& entry : maps) {
    if (entry.executable && find(entry.start) == nullptr && entry.path != "[vsyscall]") {
      anonymous_code_.push_back({entry.start, entry.end});
    }
  }
}

const Module* ModuleTable::find(std::uintptr_t address) const {
  const Module* module = last_not_above(modules_, by_start_, &Module::start, address);
  return module != nullptr && module->contains(address) ? module : nullptr;
}

const Module* ModuleTable::find_image(std::uintptr_t address) const {
  const Module* module = last_not_above(modules_, by_image_, &Module::image_start, address);
  return module != nullptr && address < module->image_end ? module : nullptr;
}

bool ModuleTable::is_code(std::uintptr_t address) const {
  if (find(address) != nullptr) return true;
  const auto after =
      std::upper_bound(anonymous_code_.begin(), anonymous_code_.end(), address,
                       [](std::uintptr_t a, const AddressRange& range) { return a < range.start; });
  return after != anonymous_code_.begin() && std::prev(after)->contains(address);
}

Modules::Modules() : table_(std::make_shared<const ModuleTable>(std::vector<MapsEntry>{})) {}

std::shared_ptr<const ModuleTable> Modules::current() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

Result<std::shared_ptr<const ModuleTable>> Modules::refresh() {
  const std::lock_guard refreshing(refresh_mutex_);
  // Not /proc/self: the first thread may have left, and its files are empty then.
  Result<std::string> text = read_proc_file("/proc/thread-self/maps", kMapsBytesMax);
  if (!text) return std::move(text).error().with_context("cannot list the mapped modules");
  std::vector<MapsEntry> maps = parse_maps(*text);
  std::erase_if(maps, [](const MapsEntry& entry) { return !concerns_code(entry); });
  // The main thread's stack grows down: its start is not news.
  for (MapsEntry& entry : maps) {
    if (entry.path == "[stack]") entry.start = entry.end - 1;
  }
  if (maps == seen_) return current();
  auto table = std::make_shared<const ModuleTable>(maps);
  seen_ = std::move(maps);
  const std::lock_guard lock(mutex_);
  table_ = table;
  return table;
}

}  // namespace vigil::sampler
