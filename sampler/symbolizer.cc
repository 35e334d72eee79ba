#include "sampler/symbolizer.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/placeholder.h"
#include "base/text.h"
#include "sampler/demangle.h"
#include "sampler/symbolizer_module.h"

namespace vigil::sampler {
namespace {

using Data = SymbolizedAddress::Data;

void mix(std::size_t& hash, std::size_t value) {
  hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);  // boost::hash_combine's
}

// What makes two source functions one, before the name is demangled.
struct FunctionKey {
  std::string symbol;
  std::string file;
  std::int32_t start_line = 0;
  friend bool operator==(const FunctionKey&, const FunctionKey&) = default;
};

struct FunctionKeyHash {
  std::size_t operator()(const FunctionKey& key) const {
    std::size_t hash = std::hash<std::string>()(key.symbol);
    mix(hash, std::hash<std::string>()(key.file));
    mix(hash, static_cast<std::size_t>(key.start_line));
    return hash;
  }
};

// A module as a cache sees it: the same file (path, build-id) at the same place (load bias). An
// unloaded library's answers stay right for stacks that were captured while it was there.
using ModuleKey = std::tuple<std::uintptr_t, std::string, std::string>;
using ModuleId = std::uint64_t;

struct AddressKey {
  ModuleId module = 0;
  std::uintptr_t address = 0;
  friend bool operator==(const AddressKey&, const AddressKey&) = default;
};

struct AddressKeyHash {
  std::size_t operator()(const AddressKey& key) const {
    std::size_t hash = std::hash<std::uintptr_t>()(key.address);
    mix(hash, key.module);
    return hash;
  }
};

// A bounded map with two generations: what was asked for lately is in the young one; when that is
// full it becomes the old one, and the former old one is dropped. No list to maintain on a hit, and
// at most twice the bound in memory.
template <typename Key, typename Value, typename Hash>
class GenerationCache {
 public:
  explicit GenerationCache(std::size_t max) : max_(max) {}

  const Value* find(const Key& key) {
    if (const auto it = young_.find(key); it != young_.end()) return &it->second;
    const auto it = old_.find(key);
    if (it == old_.end()) return nullptr;
    Value value = std::move(it->second);
    old_.erase(it);
    return &insert(key, std::move(value));
  }

  const Value& insert(const Key& key, Value value) {
    if (young_.size() >= max_) {
      old_ = std::move(young_);
      young_ = {};
    }
    return young_.insert_or_assign(key, std::move(value)).first->second;
  }

 private:
  std::size_t max_;
  std::unordered_map<Key, Value, Hash> young_;
  std::unordered_map<Key, Value, Hash> old_;
};

// A module's own file, and that with its debug information.
constexpr std::size_t kFilesOfModule = 2;
// What the next capture reads from /proc meanwhile.
constexpr std::size_t kFilesOfOthers = 2;

// Whether the process has so many descriptors left.
bool can_open(std::size_t files) {
  const UniqueFd file = take_placeholder();
  if (!file) return errno != EMFILE && errno != ENFILE;
  return files <= 1 || can_open(files - 1);
}

}  // namespace

class Symbolizer::Impl {
 public:
  Impl(LibdwApi api, SymbolizerOptions options)
      : api_(api),
        options_(std::move(options)),
        finder_(api_, options_.debug_root),
        addresses_(options_.cached_addresses_max),
        functions_(options_.cached_addresses_max) {}

  SymbolizedAddress symbolize(std::uintptr_t address, const Module& module) {
    const std::lock_guard lock(mutex_);
    const ModuleId id = id_of(module);
    const AddressKey key{id, address};
    if (const auto* data = addresses_.find(key)) {
      ++stats_.hits;
      return SymbolizedAddress(*data);
    }
    ++stats_.misses;
    auto data = look_up(id, address, module);
    if (data == nullptr) return {};
    return SymbolizedAddress(addresses_.insert(key, std::move(data)));
  }

  SymbolizerStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  struct Opened {
    ModuleId id = 0;
    std::unique_ptr<OpenModule> module;  // null: rejected
  };

  ModuleId id_of(const Module& module) {
    // The usual question is about the same module as the one before.
    if (last_id_ != 0 && module.load_bias == std::get<0>(last_key_) &&
        module.path == std::get<1>(last_key_) && module.build_id == std::get<2>(last_key_)) {
      return last_id_;
    }
    last_key_ = {module.load_bias, module.path, module.build_id};
    const auto [it, is_new] = ids_.try_emplace(last_key_, next_id_);
    if (is_new) ++next_id_;
    last_id_ = it->second;
    // Bounded: a program that loads and unloads libraries for ever. Ids are never used again, so
    // the answers cached under a forgotten one are only found no more.
    if (ids_.size() > kModuleIdsMax) ids_.clear();
    return last_id_;
  }

  // Null: not known for want of a descriptor, and so not for ever.
  std::shared_ptr<const Data> look_up(ModuleId id, std::uintptr_t address, const Module& module) {
    auto data = std::make_shared<Data>();
    const Opening opening = open(id, module);
    if (opening == Opening::kNoDescriptor) return nullptr;
    OpenModule* opened = opened_.front().module.get();
    if (opened == nullptr) return data;
    RawFrames raw = opened->frames_at(address);
    data->offset = raw.offset;
    data->frames.reserve(raw.frames.size());
    for (RawFrame& frame : raw.frames) {
      const std::int32_t line = frame.line;
      const bool inlined = frame.inlined;
      data->frames.push_back({function_of(std::move(frame)), line, inlined});
    }
    close_when_large();
    return data;
  }

  // What libdw has read stays until its session ends. So sessions end when all together have grown
  // large, the one unused for longest first; the last one too, to be started anew.
  void close_when_large() {
    std::size_t bytes = 0;
    for (const Opened& opened : opened_) bytes += opened.module ? opened.module->bytes() : 0;
    while (bytes > kOpenBytesMax && !opened_.empty()) {
      const Opened& last = opened_.back();
      bytes -= last.module ? last.module->bytes() : 0;
      opened_.pop_back();
    }
  }

  enum class Opening : std::uint8_t { kDone, kNoDescriptor };

  // Moves the module to the front of the list of open ones, as rejected if its file cannot be used.
  Opening open(ModuleId id, const Module& module) {
    const auto it = std::find_if(opened_.begin(), opened_.end(),
                                 [id](const Opened& opened) { return opened.id == id; });
    if (it != opened_.end()) {
      opened_.splice(opened_.begin(), opened_, it);
      return Opening::kDone;
    }
    if (opened_.size() >= options_.open_modules_max) opened_.pop_back();
    // Each open module keeps a descriptor, or two: where a process has few, they take turns.
    while (!can_open(kFilesOfModule + kFilesOfOthers) && !opened_.empty()) opened_.pop_back();
    auto module_opened = OpenModule::open(api_, module, finder_);
    if (module_opened == nullptr && !can_open(1)) return Opening::kNoDescriptor;
    if (module_opened == nullptr) ++stats_.modules_rejected;
    opened_.push_front({id, std::move(module_opened)});
    return Opening::kDone;
  }

  std::shared_ptr<const SourceFunction> function_of(RawFrame frame) {
    FunctionKey key{std::move(frame.symbol), std::move(frame.file), frame.start_line};
    if (const auto* function = functions_.find(key)) return *function;
    SourceFunction function;
    function.system_name = key.symbol.empty() ? "(unknown)" : key.symbol;
    function.name =
        frame.name.empty() ? readable_name(function.system_name) : std::move(frame.name);
    function.file = key.file;
    function.start_line = key.start_line;
    return functions_.insert(key, std::make_shared<const SourceFunction>(std::move(function)));
  }

  static constexpr std::size_t kModuleIdsMax = 4096;
  static constexpr std::size_t kOpenBytesMax = 24 << 20;

  const LibdwApi api_;
  const SymbolizerOptions options_;
  const DebugFileFinder finder_;

  mutable std::mutex mutex_;  // guards all below; libdw's handles are not thread-safe
  std::list<Opened> opened_;  // last used first
  std::map<ModuleKey, ModuleId> ids_;
  ModuleId next_id_ = 1;
  ModuleKey last_key_;
  ModuleId last_id_ = 0;
  GenerationCache<AddressKey, std::shared_ptr<const Data>, AddressKeyHash> addresses_;
  GenerationCache<FunctionKey, std::shared_ptr<const SourceFunction>, FunctionKeyHash> functions_;
  SymbolizerStats stats_;
};

std::string module_offset_name(std::uintptr_t address, const Module* module) {
  if (module == nullptr) return hex_address(address);
  const std::size_t slash = module->path.rfind('/');
  const std::string file =
      slash == std::string::npos ? module->path : module->path.substr(slash + 1);
  return file + "+" + hex_address(address - module->load_bias);
}

Symbolizer::Symbolizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Symbolizer::~Symbolizer() = default;

Result<std::unique_ptr<Symbolizer>> Symbolizer::create(SymbolizerOptions options) {
  if (options.cached_addresses_max == 0 || options.open_modules_max == 0) {
    return Error(ErrorCode::kInvalidArgument, "a symbolizer's bounds must be at least 1");
  }
  Result<LibdwApi> api = LibdwApi::load();
  if (!api) return std::move(api).error();
  return std::unique_ptr<Symbolizer>(
      new Symbolizer(std::make_unique<Impl>(*api, std::move(options))));
}

SymbolizedAddress Symbolizer::symbolize(FrameAddress address, const ModuleTable& modules) {
  const Module* module = modules.find(address.lookup());
  if (module == nullptr) return {};
  return impl_->symbolize(address.lookup(), *module);
}

SymbolizerStats Symbolizer::stats() const { return impl_->stats(); }

}  // namespace vigil::sampler
