#include "sampler/unwinder.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include <libunwind.h>

#include "sampler/frame_pointer_search.h"
#include "sampler/frame_rules.h"
#include "sampler/memory_reader.h"
#include "sampler/unwind_accessors.h"

namespace vigil::sampler {
namespace {

// Register states that libunwind keeps; its default of 128 is less than one deep dump needs.
constexpr std::size_t kStateCacheSize = 8192;
// Room for a stack's frames to begin with.
constexpr std::size_t kFramesUsual = 32;
// Frame pointers looked for in one walk. After the first the walk knows rbp again; more come only
// through code without unwind information.
constexpr int kSearchesMax = 8;

// For the frame pointer search: code as it is now, because words of the global offset table are
// bound meanwhile.
class LiveCode final : public CodeOracle {
 public:
  explicit LiveCode(const ModuleTable& modules) : modules_(modules) {}
  bool is_code(std::uintptr_t address) override { return modules_.is_code(address); }
  std::optional<std::uint64_t> read_word(std::uintptr_t address) override {
    return read_object<std::uint64_t>(address);
  }

 private:
  const ModuleTable& modules_;
};

struct SpaceDeleter {
  using pointer = unw_addr_space_t;
  void operator()(unw_addr_space_t space) const { unw_destroy_addr_space(space); }
};

// Where a walk is: the frame whose caller comes next.
struct Position {
  FrameAddress pc;
  std::uintptr_t sp = 0;
  std::optional<std::uintptr_t> rbp;
};

std::optional<std::uintptr_t> register_value(unw_cursor_t& cursor, int reg) {
  unw_word_t value = 0;
  if (unw_get_reg(&cursor, reg, &value) < 0) return std::nullopt;
  return value;
}

}  // namespace

class Unwinder::Impl {
 public:
  explicit Impl(Modules& modules) : modules_(modules) {
    unw_accessors_t accessors = walk_accessors();
    space_.reset(unw_create_addr_space(&accessors, 0));
    if (space_ == nullptr) return;
    unw_set_caching_policy(space_.get(), UNW_CACHE_GLOBAL);
    unw_set_cache_size(space_.get(), kStateCacheSize, 0);
  }

  Stack unwind(const RegisterSet& registers, const StackCopy& copy, std::size_t frames_max);

  UnwinderStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  enum class Step : std::uint8_t { kMoved, kEnd };

  void follow_modules();
  // To the caller's frame, or sets `end_`: by the rule of this instruction, or by libunwind.
  Step step();
  // As far as the rule goes; nothing where libunwind is to find out.
  std::optional<Step> step_by_rule(const FrameRule& rule);
  Step step_by_libunwind();
  // Puts the cursor to where `registers_` and `pc_` are.
  bool take_up_cursor();
  // Sets `registers_` from the cursor, as far as rules need them.
  void leave_cursor();
  // Begins (again) at a position known by its registers.
  bool start(const RegisterSet& registers);
  WatchedStep::Places places();
  Step step_by_frame_pointer(const Position& from);
  // Looks for the unknown rbp of the frame at `from`, and begins again with it. False if there is
  // none.
  bool recover_frame_pointer(const Position& from);
  bool restart(const Position& from, std::uintptr_t rbp);
  Position position();
  Step ended(StackEnd end) {
    end_ = end;
    return Step::kEnd;
  }
  StackEnd reason_of_failure() const;

  Modules& modules_;
  mutable std::mutex mutex_;
  // All below guarded by mutex_.
  std::unique_ptr<std::remove_pointer_t<unw_addr_space_t>, SpaceDeleter> space_;
  std::shared_ptr<const ModuleTable> table_;
  PageCache pages_;
  FrameRules rules_;
  UnwinderStats stats_;
  // The walk in progress: at `pc_`, with its other registers in `registers_` alone or, from a
  // libunwind step on, in the cursor, whose beginning they are then.
  bool is_at_cursor_ = false;
  unw_cursor_t cursor_{};
  RegisterSet registers_;
  Walk walk_;
  FrameAddress pc_;
  bool in_signal_frame_ = false;  // the frame at the cursor is the kernel's signal trampoline
  int searches_ = 0;
  StackEnd end_ = StackEnd::kNotWalked;
};

void Unwinder::Impl::follow_modules() {
  auto table = modules_.current();
  if (table == table_) return;
  table_ = std::move(table);
  pages_.clear();
  rules_.clear();
  unw_flush_cache(space_.get(), 0, 0);
}

bool Unwinder::Impl::start(const RegisterSet& registers) {
  registers_ = registers;
  is_at_cursor_ = unw_init_remote(&cursor_, space_.get(), &walk_) >= 0;
  return is_at_cursor_;
}

Position Unwinder::Impl::position() {
  Position here;
  here.pc = pc_;
  here.sp = register_value(cursor_, UNW_REG_SP).value_or(0);
  here.rbp = register_value(cursor_, UNW_X86_64_RBP);
  walk_.trouble = {};
  return here;
}

StackEnd Unwinder::Impl::reason_of_failure() const {
  if (walk_.trouble.beyond_copy) return StackEnd::kTruncated;
  if (walk_.trouble.no_unwind_info) return StackEnd::kNoUnwindInfo;
  return StackEnd::kBadMemory;
}

bool Unwinder::Impl::restart(const Position& from, std::uintptr_t rbp) {
  RegisterSet registers;
  // As an instruction inside the call: libunwind takes the address that it begins with literally.
  registers.set(Register::kRip, from.pc.lookup());
  registers.set(Register::kRsp, from.sp);
  registers.set(Register::kRbp, rbp);
  return start(registers);
}

bool Unwinder::Impl::recover_frame_pointer(const Position& from) {
  if (from.rbp || searches_ >= kSearchesMax) return false;
  ++searches_;
  unw_proc_info_t info{};
  const bool known = find_proc_info(space_.get(), from.pc.lookup(), &info, 0, &walk_) >= 0;
  LiveCode code(*table_);
  const auto rbp = find_frame_pointer(*walk_.stack, from.sp, known ? info.start_ip : 0, code);
  return rbp && restart(from, *rbp);
}

// Code without unwind information: the pair at rbp, if it is one.
Unwinder::Impl::Step Unwinder::Impl::step_by_frame_pointer(const Position& from) {
  walk_.trouble = {};
  if (!from.rbp || *from.rbp < from.sp || *from.rbp % sizeof(std::uintptr_t) != 0) {
    return ended(StackEnd::kNoUnwindInfo);
  }
  const auto saved = read_word(walk_, *from.rbp);
  const auto back = read_word(walk_, *from.rbp + sizeof(std::uintptr_t));
  if (!saved || !back) return ended(reason_of_failure());
  if (*back == 0) return ended(StackEnd::kComplete);
  if (!table_->is_code(*back - 1)) return ended(StackEnd::kNoUnwindInfo);
  Position caller;
  caller.pc = FrameAddress::return_address(*back);
  caller.sp = *from.rbp + 2 * sizeof(std::uintptr_t);
  if (!restart(caller, *saved)) return ended(StackEnd::kBadMemory);
  pc_ = caller.pc;
  in_signal_frame_ = false;
  return Step::kMoved;
}

WatchedStep::Places Unwinder::Impl::places() {
  WatchedStep::Places places;
  for (std::size_t i = 0; i < kCalleeSaved.size(); ++i) {
    unw_save_loc_t where{};
    if (unw_get_save_loc(&cursor_, as_int(kCalleeSaved[i]), &where) < 0) continue;
    if (where.type == UNW_SLT_REG) {
      places[i] = {WatchedStep::Place::Kind::kRegister, static_cast<std::uint64_t>(where.u.regnum)};
    } else if (where.type == UNW_SLT_MEMORY) {
      places[i] = {WatchedStep::Place::Kind::kMemory, where.u.addr};
    }
  }
  return places;
}

void Unwinder::Impl::leave_cursor() {
  is_at_cursor_ = false;
  // Not in place: what has not been saved anywhere since the cursor began is read from there.
  RegisterSet here;
  here.set(Register::kRip, pc_.raw());
  if (const auto sp = register_value(cursor_, UNW_REG_SP)) here.set(Register::kRsp, *sp);
  for (const Register reg : kCalleeSaved) {
    if (const auto value = register_value(cursor_, as_int(reg))) here.set(reg, *value);
  }
  registers_ = here;
}

bool Unwinder::Impl::take_up_cursor() {
  if (is_at_cursor_) return true;
  // As an instruction inside the call: libunwind takes the address that it begins with literally.
  RegisterSet registers = registers_;
  registers.set(Register::kRip, pc_.lookup());
  return start(registers);
}

std::optional<Unwinder::Impl::Step> Unwinder::Impl::step_by_rule(const FrameRule& rule) {
  if (rule.kind == FrameRule::Kind::kNotSimple) return std::nullopt;
  ++stats_.steps_by_rule;
  if (rule.kind == FrameRule::Kind::kNoCaller) return ended(StackEnd::kComplete);
  if (is_at_cursor_) leave_cursor();
  if (!follow(rule, *walk_.stack, registers_)) {
    --stats_.steps_by_rule;
    return std::nullopt;
  }
  if (registers_.pc() == 0) return ended(StackEnd::kComplete);
  pc_ = FrameAddress::return_address(registers_.pc());
  if (rules_.find(pc_) != nullptr) return Step::kMoved;
  // The kernel "returns" to a signal trampoline's first instruction, which is not what a call pushed;
  // there are no rules for it.
  in_signal_frame_ = start(registers_) && unw_is_signal_frame(&cursor_) > 0;
  if (in_signal_frame_) pc_ = FrameAddress::instruction(pc_.raw());
  is_at_cursor_ = in_signal_frame_;
  return Step::kMoved;
}

Unwinder::Impl::Step Unwinder::Impl::step() {
  if (!in_signal_frame_) {
    if (const FrameRule* rule = rules_.find(pc_)) {
      if (const auto moved = step_by_rule(*rule)) return *moved;
    }
  }
  if (!take_up_cursor()) return ended(StackEnd::kBadMemory);
  ++stats_.steps_by_libunwind;
  return step_by_libunwind();
}

Unwinder::Impl::Step Unwinder::Impl::step_by_libunwind() {
  const Position from = position();
  if (const Module* module = table_->find(from.pc.lookup());
      module == nullptr || !module->unwind_table) {
    return step_by_frame_pointer(from);
  }
  const bool left_signal_frame = in_signal_frame_;
  bool is_to_learn = !left_signal_frame && rules_.find(from.pc) == nullptr;
  WatchedStep watched{.sp_before = from.sp};
  if (is_to_learn) {
    watched.places_before = places();
    watched.would_see_rbp = is_watched(watched.places_before[kRbpIndex], *walk_.stack);
  }
  walk_.reads.begin();
  int moved = unw_step(&cursor_);
  watched.reads = walk_.reads.all();
  is_to_learn = is_to_learn && moved >= 0 && !walk_.trouble.no_unwind_info;
  if (moved < 0 && walk_.trouble.unknown_register && recover_frame_pointer(from)) {
    walk_.trouble = {};
    moved = unw_step(&cursor_);
  }
  // libunwind has heuristics of its own for code without unwind information; their result is not
  // used.
  if (walk_.trouble.no_unwind_info && !left_signal_frame) return step_by_frame_pointer(from);
  if (moved < 0) return ended(reason_of_failure());
  watched.has_caller = moved > 0;
  const auto pc = register_value(cursor_, UNW_REG_IP);
  const auto sp = register_value(cursor_, UNW_REG_SP);
  if (is_to_learn && pc && sp) {
    watched.pc_after = *pc;
    watched.sp_after = *sp;
    watched.places_after = places();
    rules_.keep(from.pc, walk_.reads.is_simple() ? rule_of(watched) : FrameRule());
  }
  if (moved == 0) return ended(StackEnd::kComplete);
  if (!pc || !sp) return ended(reason_of_failure());
  if (*pc == 0) return ended(StackEnd::kComplete);
  if (*pc == from.pc.raw() && *sp == from.sp) return ended(StackEnd::kBadMemory);
  // The kernel "returns" to a signal trampoline's first instruction, and the trampoline to the
  // interrupted one: neither is what a call pushed.
  in_signal_frame_ = unw_is_signal_frame(&cursor_) > 0;
  const bool is_instruction = left_signal_frame || in_signal_frame_;
  pc_ = is_instruction ? FrameAddress::instruction(*pc) : FrameAddress::return_address(*pc);
  return Step::kMoved;
}

Stack Unwinder::Impl::unwind(const RegisterSet& registers, const StackCopy& copy,
                             std::size_t frames_max) {
  const std::lock_guard lock(mutex_);
  Stack stack;
  if (space_ == nullptr || !registers.knows(Register::kRip) || !registers.knows(Register::kRsp)) {
    return stack;
  }
  follow_modules();
  ++stats_.walks;
  walk_.registers = &registers_;
  walk_.stack = &copy;
  walk_.modules = table_.get();
  walk_.pages = &pages_;
  walk_.trouble = {};
  searches_ = 0;
  end_ = StackEnd::kTruncated;
  registers_ = registers;
  is_at_cursor_ = false;
  in_signal_frame_ = false;
  pc_ = FrameAddress::instruction(registers.pc());
  stack.frames.reserve(std::min(frames_max, kFramesUsual));
  stack.frames.push_back(pc_);
  if (rules_.find(pc_) == nullptr) {
    if (!start(registers)) {
      stack.end = StackEnd::kBadMemory;
      return stack;
    }
    in_signal_frame_ = unw_is_signal_frame(&cursor_) > 0;
  }
  while (stack.frames.size() < frames_max && step() == Step::kMoved) stack.frames.push_back(pc_);
  stack.end = end_;
  return stack;
}

Unwinder::Unwinder(Modules& modules) : impl_(std::make_unique<Impl>(modules)) {}
Unwinder::~Unwinder() = default;

Stack Unwinder::unwind(const RegisterSet& registers, const StackCopy& stack,
                       std::size_t frames_max) {
  return impl_->unwind(registers, stack, frames_max);
}

UnwinderStats Unwinder::stats() const { return impl_->stats(); }

}  // namespace vigil::sampler
