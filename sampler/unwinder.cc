#include "sampler/unwinder.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include <libunwind.h>

#include "sampler/frame_pointer_search.h"
#include "sampler/memory_reader.h"
#include "sampler/walk_memo.h"

// In libunwind-x86_64.a, declared in none of its public headers; Linux perf uses it in the same
// way.
extern "C" int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t, unw_word_t, unw_dyn_info_t*,
                                                  unw_proc_info_t*, int, void*);

namespace vigil::sampler {
namespace {

// Register states that libunwind keeps; its default of 128 is less than one deep dump needs.
constexpr std::size_t kStateCacheSize = 8192;
// Where the stack's end is unknown, this much above the copy is taken to be stack.
constexpr std::uintptr_t kStackAssumed = 1024 * 1024;
// Frame pointers looked for in one walk. After the first the walk knows rbp again; more come only
// through code without unwind information.
constexpr int kSearchesMax = 8;

constexpr int as_int(Register reg) { return static_cast<int>(reg); }
static_assert(UNW_X86_64_RAX == as_int(Register::kRax) &&
              UNW_X86_64_RBP == as_int(Register::kRbp) &&
              UNW_X86_64_RSP == as_int(Register::kRsp) &&
              UNW_X86_64_R15 == as_int(Register::kR15) && UNW_X86_64_RIP == as_int(Register::kRip));

// What a step ran into; libunwind's return codes do not tell.
struct Trouble {
  bool no_unwind_info = false;    // the table has nothing for the address
  bool unknown_register = false;  // a register that the capture does not know was needed
  bool beyond_copy = false;       // a word of the live stack above the copy was needed
  bool unreadable = false;
};

// Everything the accessors answer from; the `void*` that libunwind passes through.
struct Walk {
  const RegisterSet* registers = nullptr;
  const StackCopy* stack = nullptr;
  const ModuleTable* modules = nullptr;
  PageCache* pages = nullptr;
  WalkMemo* memo = nullptr;
  Trouble trouble;
  // Whether the registers are those of the capture: after a restart they come from reads that the
  // memo has been told of.
  bool has_first_registers = true;
  bool is_peek = false;  // reads that the walk does not depend on
};

Walk& walk_of(void* argument) { return *static_cast<Walk*>(argument); }

// Whether `address` is on the walked thread's stack, above the copy.
bool is_live_stack(const Walk& walk, std::uintptr_t address) {
  const StackCopy& stack = *walk.stack;
  if (address < stack.base) return false;
  const std::uintptr_t end = stack.stack_end != 0 ? stack.stack_end : stack.end() + kStackAssumed;
  return address < end && walk.modules->find_image(address) == nullptr;
}

std::optional<std::uint64_t> read_word(Walk& walk, std::uintptr_t address) {
  const StackCopy& stack = *walk.stack;
  if (address >= stack.base && stack.bytes.size() >= sizeof(std::uint64_t) &&
      address - stack.base <= stack.bytes.size() - sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, stack.bytes.data() + (address - stack.base), sizeof word);
    if (!walk.is_peek) walk.memo->saw_word(address, word);
    return word;
  }
  if (is_live_stack(walk, address)) {
    walk.trouble.beyond_copy = true;
    walk.memo->spoil();
    return std::nullopt;
  }
  // Modules' code and tables do not change while they are mapped; other memory is read as it is
  // now.
  if (walk.modules->find_image(address) != nullptr) {
    if (const auto word = walk.pages->read_word(address)) return word;
  }
  if (!walk.is_peek) walk.memo->spoil();
  const auto word = read_object<std::uint64_t>(address);
  if (!word) walk.trouble.unreadable = true;
  return word;
}

int access_mem(unw_addr_space_t, unw_word_t address, unw_word_t* value, int write, void* argument) {
  if (write != 0) return -UNW_EINVAL;
  const auto word = read_word(walk_of(argument), address);
  if (!word) return -UNW_EINVAL;
  *value = *word;
  return 0;
}

int access_reg(unw_addr_space_t, unw_regnum_t reg, unw_word_t* value, int write, void* argument) {
  if (write != 0) return -UNW_EREADONLYREG;
  if (reg < 0 || reg >= static_cast<int>(kRegisterCount)) return -UNW_EBADREG;
  Walk& walk = walk_of(argument);
  const auto wanted = static_cast<Register>(reg);
  // libunwind reads a register's value only to compute with it; what is merely passed on stays a
  // location.
  if (!walk.registers->knows(wanted)) {
    walk.trouble.unknown_register = true;
    return -UNW_EBADREG;
  }
  *value = walk.registers->get(wanted);
  if (walk.has_first_registers && !walk.is_peek) walk.memo->saw_register(wanted, *value);
  return 0;
}

int access_fpreg(unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) { return -UNW_EBADREG; }

int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t* info, int need_info,
                   void* argument) {
  Walk& walk = walk_of(argument);
  const Module* module = walk.modules->find(ip);
  if (module == nullptr || !module->unwind_table) {
    walk.trouble.no_unwind_info = true;
    return -UNW_ENOINFO;
  }
  unw_dyn_info_t table{};
  table.start_ip = module->start;
  table.end_ip = module->end;
  table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
  table.u.rti.segbase = module->unwind_table->header;
  table.u.rti.table_data = module->unwind_table->entries;
  // In words; an entry is eight bytes.
  table.u.rti.table_len = module->unwind_table->count * 8 / sizeof(unw_word_t);
  const int found =
      _Ux86_64_dwarf_search_unwind_table(space, ip, &table, info, need_info, argument);
  if (found < 0) walk.trouble.no_unwind_info = true;
  return found;
}

void put_unwind_info(unw_addr_space_t, unw_proc_info_t*, void*) {}
int get_dyn_info_list_addr(unw_addr_space_t, unw_word_t*, void*) { return -UNW_ENOINFO; }
int resume(unw_addr_space_t, unw_cursor_t*, void*) { return -UNW_EINVAL; }
int get_proc_name(unw_addr_space_t, unw_word_t, char*, size_t, unw_word_t*, void*) {
  return -UNW_ENOINFO;
}

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
    unw_accessors_t accessors{};
    accessors.find_proc_info = &find_proc_info;
    accessors.put_unwind_info = &put_unwind_info;
    accessors.get_dyn_info_list_addr = &get_dyn_info_list_addr;
    accessors.access_mem = &access_mem;
    accessors.access_reg = &access_reg;
    accessors.access_fpreg = &access_fpreg;
    accessors.resume = &resume;
    accessors.get_proc_name = &get_proc_name;
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
  // Begins (again) at a position known by its registers.
  bool start(const RegisterSet& registers);
  // To the caller's frame, or sets `end_`.
  Step step();
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
  WalkMemo memo_;
  UnwinderStats stats_;
  // The walk in progress. The cursor and what it points to: a restart changes `registers_` and
  // begins anew.
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
  memo_.clear();
  unw_flush_cache(space_.get(), 0, 0);
}

bool Unwinder::Impl::start(const RegisterSet& registers) {
  registers_ = registers;
  return unw_init_remote(&cursor_, space_.get(), &walk_) >= 0;
}

Position Unwinder::Impl::position() {
  Position here;
  here.pc = pc_;
  here.sp = register_value(cursor_, UNW_REG_SP).value_or(0);
  // Nearly never used, and most functions keep data in it: who uses it spoils the memo.
  walk_.is_peek = true;
  here.rbp = register_value(cursor_, UNW_X86_64_RBP);
  walk_.is_peek = false;
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
  walk_.has_first_registers = false;
  return start(registers);
}

bool Unwinder::Impl::recover_frame_pointer(const Position& from) {
  memo_.spoil();  // the search looks at the whole copy
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
  memo_.spoil();
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

Unwinder::Impl::Step Unwinder::Impl::step() {
  const Position from = position();
  if (const Module* module = table_->find(from.pc.lookup());
      module == nullptr || !module->unwind_table) {
    return step_by_frame_pointer(from);
  }
  const bool left_signal_frame = in_signal_frame_;
  int moved = unw_step(&cursor_);
  if (moved < 0 && walk_.trouble.unknown_register && recover_frame_pointer(from)) {
    walk_.trouble = {};
    moved = unw_step(&cursor_);
  }
  // libunwind has heuristics of its own for code without unwind information; their result is not
  // used.
  if (walk_.trouble.no_unwind_info && !left_signal_frame) return step_by_frame_pointer(from);
  if (moved < 0) return ended(reason_of_failure());
  if (moved == 0) return ended(StackEnd::kComplete);
  const auto pc = register_value(cursor_, UNW_REG_IP);
  const auto sp = register_value(cursor_, UNW_REG_SP);
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
  if (const auto* known = memo_.find(registers, copy);
      known != nullptr && known->size() <= frames_max) {
    ++stats_.remembered;
    return {*known, StackEnd::kComplete};
  }
  ++stats_.walked;
  memo_.begin(registers, copy);
  walk_ = {.registers = &registers_,
           .stack = &copy,
           .modules = table_.get(),
           .pages = &pages_,
           .memo = &memo_};
  searches_ = 0;
  end_ = StackEnd::kTruncated;
  pc_ = FrameAddress::instruction(registers.pc());
  stack.frames.push_back(pc_);
  if (!start(registers)) {
    stack.end = StackEnd::kBadMemory;
    return stack;
  }
  in_signal_frame_ = unw_is_signal_frame(&cursor_) > 0;
  while (stack.frames.size() < frames_max && step() == Step::kMoved) stack.frames.push_back(pc_);
  stack.end = end_;
  memo_.keep(stack);
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
