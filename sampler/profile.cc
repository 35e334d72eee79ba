#include "sampler/profile.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/text.h"
#include "sampler/allocator_frames.h"

namespace vigil::sampler {
namespace {

// Nothing is mapped below it (vm.mmap_min_addr is a page or more).
constexpr std::uint64_t kFirstCodeAddress = 4096;

// Made-up addresses of stacks without frames: where no code can be, one for each StackEnd, so that
// they are unique and never 0.
constexpr std::uint64_t kMadeUpAddress = 1;

// In the order of StackEnd.
constexpr std::array<std::string_view, 5> kStackEndCounters = {
    "", "stacks_truncated", "stacks_without_unwind_info", "stacks_bad_memory",
    "stacks_not_captured"};
constexpr std::array<std::string_view, 5> kMadeUpNames = {"[no frames]", "[truncated]",
                                                          "[no unwind information]",
                                                          "[unreadable stack]", "[not captured]"};

std::size_t position(StackEnd end) {
  return std::min(static_cast<std::size_t>(end), kStackEndCounters.size() - 1);
}

// The made-up frame that an address stands for, if `profile` knows it.
const MadeUpFrame* made_up_frame(const StackProfile& profile, std::uint64_t address) {
  const FrameAddress frame = FrameAddress::instruction(address);
  if (!frame.may_be_made_up()) return nullptr;
  const auto found = profile.made_up_frames.find(frame);
  return found == profile.made_up_frames.end() ? nullptr : &found->second;
}

// The stack as a profile knows it: look-up addresses. Two FrameAddresses with one look-up address
// are one location.
std::vector<std::uint64_t> addresses_of(const Stack& stack, const StackProfile& profile) {
  std::vector<std::uint64_t> addresses;
  addresses.reserve(stack.frames.size());
  for (const FrameAddress& frame : stack.frames) {
    // A call through a null pointer, or a walk over a damaged stack: no code, and no address that a
    // profile may have.
    const bool made_up = made_up_frame(profile, frame.raw()) != nullptr;
    if (frame.raw() < kFirstCodeAddress && !made_up) continue;
    addresses.push_back(frame.lookup());
  }
  if (addresses.empty()) addresses.push_back(kMadeUpAddress + position(stack.end));
  return addresses;
}

struct SampleKey {
  std::vector<std::uint64_t> addresses;
  std::vector<Label> labels;
  friend auto operator<=>(const SampleKey&, const SampleKey&) = default;
};

using MergedSamples = std::map<SampleKey, std::vector<std::int64_t>>;

MergedSamples merge(const StackProfile& profile) {
  MergedSamples merged;
  for (const StackSample& sample : profile.samples) {
    assert(sample.values.size() == profile.sample_types.size());
    SampleKey key{addresses_of(sample.stack, profile), sample.labels};
    std::sort(key.labels.begin(), key.labels.end());
    const auto [it, is_new] = merged.try_emplace(std::move(key), sample.values);
    if (is_new) continue;
    for (std::size_t i = 0; i < sample.values.size(); ++i) it->second[i] += sample.values[i];
  }
  std::erase_if(merged, [](const auto& entry) {
    return std::all_of(entry.second.begin(), entry.second.end(),
                       [](std::int64_t value) { return value == 0; });
  });
  return merged;
}

class Builder {
 public:
  Builder(const StackProfile& collected, const ModuleTable& modules, Symbolizer* symbolizer,
          Profile& out)
      : collected_(collected), modules_(modules), symbolizer_(symbolizer), out_(out) {
    for (const Module& module : modules_.modules()) {
      if (module.is_main) mapping_of(module);
    }
  }

  void add_samples(MergedSamples merged) {
    add_locations(merged);
    for (auto& [key, values] : merged) {
      ProfileSample sample;
      sample.locations.reserve(key.addresses.size());
      for (const std::uint64_t address : key.addresses) {
        sample.locations.push_back(locations_.at(address));
      }
      sample.values = std::move(values);
      sample.labels = key.labels;
      out_.samples.push_back(std::move(sample));
    }
  }

  // After all locations are known. An address without a symbol in a mapping that has symbols (a stub of the procedure linkage
  // table, hand-written assembly) is named after its place: one such sample would make the whole mapping count as not
  // symbolized, and pprof would throw our names away and run addr2line on the file instead.
  void set_mapping_flags() {
    std::vector<bool> symbolized(out_.mappings.size());
    for (const ProfileLocation& location : out_.locations) {
      if (!location.mapping || location.lines.empty()) continue;
      const std::size_t i = index(*location.mapping);
      ProfileMapping& mapping = out_.mappings[i];
      if (!symbolized[i]) {
        mapping.has_functions = mapping.has_filenames = true;
        mapping.has_line_numbers = mapping.has_inline_frames = true;
        symbolized[i] = true;
      }
      clear_what_is_missing(location, mapping);
    }
    for (ProfileLocation& location : out_.locations) {
      if (!location.mapping || !location.lines.empty()) continue;
      const std::size_t i = index(*location.mapping);
      if (!symbolized[i]) continue;
      const std::string name = module_offset_name(out_, location);
      location.lines.push_back({function_of({name, name, out_.mappings[i].path, 0}), 0});
    }
  }

 private:
  // In ascending order: that makes the result deterministic, and the symbolizer reads a compilation
  // unit once.
  void add_locations(const MergedSamples& merged) {
    std::vector<std::uint64_t> addresses;
    for (const auto& [key, values] : merged) {
      addresses.insert(addresses.end(), key.addresses.begin(), key.addresses.end());
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    for (const std::uint64_t address : addresses) {
      locations_.emplace(address, static_cast<LocationIndex>(out_.locations.size()));
      out_.locations.push_back(location_of(address));
    }
  }

  ProfileLocation location_of(std::uint64_t address) {
    ProfileLocation location;
    location.address = address;
    if (address < kMadeUpAddress + kMadeUpNames.size()) {
      const std::string name(kMadeUpNames[address - kMadeUpAddress]);
      location.lines.push_back({function_of({name, name, "", 0}), 0});
      return location;
    }
    if (const MadeUpFrame* made_up = made_up_frame(collected_, address)) {
      const SourceFunction function{made_up->function, made_up->function, made_up->file, 0};
      location.lines.push_back({function_of(function), made_up->line});
      return location;
    }
    const Module* module = modules_.find(address);
    if (module == nullptr) return location;
    location.mapping = mapping_of(*module);
    if (symbolizer_ == nullptr) return location;
    // The address is a look-up address already: nothing is to be taken from it.
    const SymbolizedAddress known =
        symbolizer_->symbolize(FrameAddress::instruction(address), modules_);
    location.function_offset = known.offset();
    for (const SourceFrame& frame : known.frames()) {
      location.lines.push_back({function_of(*frame.function), frame.line});
    }
    return location;
  }

  MappingIndex mapping_of(const Module& module) {
    const auto [it, is_new] =
        mappings_.try_emplace(&module, static_cast<MappingIndex>(out_.mappings.size()));
    if (is_new) {
      ProfileMapping mapping;
      mapping.start = module.start;
      mapping.limit = module.end;
      mapping.file_offset = module.file_offset;
      mapping.path = module.path;
      mapping.build_id = module.build_id;
      mapping.load_bias = module.load_bias;
      out_.mappings.push_back(std::move(mapping));
    }
    return it->second;
  }

  FunctionIndex function_of(const SourceFunction& function) {
    const auto [it, is_new] =
        functions_.try_emplace(function, static_cast<FunctionIndex>(out_.functions.size()));
    if (is_new) out_.functions.push_back(function);
    return it->second;
  }

  void clear_what_is_missing(const ProfileLocation& location, ProfileMapping& mapping) const {
    bool files = true;
    bool numbers = files;
    for (const ProfileLine& line : location.lines) {
      files = files && !out_.functions[index(line.function)].file.empty();
      numbers = numbers && line.line != 0;
    }
    mapping.has_filenames = mapping.has_filenames && files;
    mapping.has_line_numbers = mapping.has_line_numbers && numbers;
    // A symbol table knows neither files nor inlined frames; debug information knows both.
    mapping.has_inline_frames = mapping.has_inline_frames && files;
  }

  const StackProfile& collected_;
  const ModuleTable& modules_;
  Symbolizer* symbolizer_;
  Profile& out_;
  std::unordered_map<const Module*, MappingIndex> mappings_;
  std::map<SourceFunction, FunctionIndex> functions_;
  std::unordered_map<std::uint64_t, LocationIndex> locations_;
};

// Stacks that differed in the allocator's frames only have become equal: Alloy's delta wants each list of addresses once.
void merge_equal_samples(Profile& profile) {
  std::map<std::pair<std::vector<LocationIndex>, std::vector<Label>>, std::vector<std::int64_t>>
      merged;
  for (ProfileSample& sample : profile.samples) {
    const auto [it, is_new] =
        merged.try_emplace({std::move(sample.locations), std::move(sample.labels)}, sample.values);
    if (is_new) continue;
    for (std::size_t i = 0; i < sample.values.size(); ++i) it->second[i] += sample.values[i];
  }
  profile.samples.clear();
  for (auto& [key, values] : merged) {
    profile.samples.push_back({key.first, std::move(values), key.second});
  }
}

void add_comment(Profile& out, std::string_view counter, std::int64_t count) {
  if (count == 0 || counter.empty()) return;
  out.comments.push_back("vigil: " + std::string(counter) + "=" + std::to_string(count));
}

void add_comments(const StackProfile& profile, Profile& out) {
  for (const auto& [setting, value] : profile.settings) add_comment(out, setting, value);
  for (const auto& [counter, count] : profile.counters) add_comment(out, counter, count);
  std::array<std::int64_t, kStackEndCounters.size()> ends{};
  for (const StackSample& sample : profile.samples) ++ends[position(sample.stack.end)];
  for (std::size_t i = 0; i < ends.size(); ++i) {
    // A collector that counts them itself counts samples, not stacks.
    if (!profile.counters.contains(kStackEndCounters[i])) {
      add_comment(out, kStackEndCounters[i], ends[i]);
    }
  }
}

}  // namespace

Profile build_profile(const StackProfile& profile, const ModuleTable& modules,
                      Symbolizer* symbolizer) {
  Profile out;
  out.name = profile.name;
  out.sample_types = profile.sample_types;
  out.default_sample_type = profile.default_sample_type;
  out.period_type = profile.period_type;
  out.period = profile.period;
  out.start = profile.start;
  out.duration = profile.duration;
  Builder builder(profile, modules, symbolizer, out);
  builder.add_samples(merge(profile));
  if (profile.leaf_frames == LeafFrames::kWithoutAllocator) {
    drop_allocator_frames(out);
    merge_equal_samples(out);
  }
  builder.set_mapping_flags();
  add_comments(profile, out);
  return out;
}

std::string module_offset_name(const Profile& profile, const ProfileLocation& location) {
  if (!location.mapping) return hex_address(location.address);
  const ProfileMapping& mapping = profile.mappings[index(*location.mapping)];
  const std::size_t slash = mapping.path.rfind('/');
  const std::string file =
      slash == std::string::npos ? mapping.path : mapping.path.substr(slash + 1);
  return file + "+" + hex_address(location.address - mapping.load_bias);
}

}  // namespace vigil::sampler
