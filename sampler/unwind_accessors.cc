#include "sampler/unwind_accessors.h"

// In libunwind-x86_64.a, declared in none of its public headers; Linux perf uses it in the same
// way.
extern "C" int _Ux86_64_dwarf_search_unwind_table(unw_addr_space_t, unw_word_t, unw_dyn_info_t*,
                                                  unw_proc_info_t*, int, void*);

namespace vigil::sampler {
namespace {

// Where the stack's end is unknown, this much above the copy is taken to be stack.
constexpr std::uintptr_t kStackAssumed = 1024 * 1024;

static_assert(UNW_X86_64_RAX == as_int(Register::kRax) &&
              UNW_X86_64_RBP == as_int(Register::kRbp) &&
              UNW_X86_64_RSP == as_int(Register::kRsp) &&
              UNW_X86_64_R15 == as_int(Register::kR15) && UNW_X86_64_RIP == as_int(Register::kRip));

Walk& walk_of(void* argument) { return *static_cast<Walk*>(argument); }

// Whether `address` is on the walked thread's stack, above the copy.
bool is_live_stack(const Walk& walk, std::uintptr_t address) {
  const StackCopy& stack = *walk.stack;
  if (address < stack.base) return false;
  const std::uintptr_t end = stack.stack_end != 0 ? stack.stack_end : stack.end() + kStackAssumed;
  return address < end && walk.modules->find_image(address) == nullptr;
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
  walk.reads.saw(WatchedStep::Place::Kind::kRegister, static_cast<std::uint64_t>(reg), *value);
  return 0;
}

int access_fpreg(unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) { return -UNW_EBADREG; }

void put_unwind_info(unw_addr_space_t, unw_proc_info_t*, void*) {}
int get_dyn_info_list_addr(unw_addr_space_t, unw_word_t*, void*) { return -UNW_ENOINFO; }
int resume(unw_addr_space_t, unw_cursor_t*, void*) { return -UNW_EINVAL; }
int get_proc_name(unw_addr_space_t, unw_word_t, char*, size_t, unw_word_t*, void*) {
  return -UNW_ENOINFO;
}

}  // namespace

bool is_watched(const WatchedStep::Place& place, const StackCopy& copy) {
  return place.kind != WatchedStep::Place::Kind::kMemory || copy.contains_word(place.at);
}

std::optional<std::uint64_t> read_word(Walk& walk, std::uintptr_t address) {
  if (const auto word = walk.stack->word_at(address)) {
    walk.reads.saw(WatchedStep::Place::Kind::kMemory, address, *word);
    return word;
  }
  if (is_live_stack(walk, address)) {
    walk.trouble.beyond_copy = true;
    return std::nullopt;
  }
  // Modules' code and tables do not change while they are mapped; other memory is read as it is
  // now.
  if (walk.modules->find_image(address) != nullptr) {
    if (const auto word = walk.pages->read_word(address)) return word;
  }
  walk.reads.saw_other_memory();
  const auto word = read_object<std::uint64_t>(address);
  if (!word) walk.trouble.unreadable = true;
  return word;
}

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

unw_accessors_t walk_accessors() {
  unw_accessors_t accessors{};
  accessors.find_proc_info = &find_proc_info;
  accessors.put_unwind_info = &put_unwind_info;
  accessors.get_dyn_info_list_addr = &get_dyn_info_list_addr;
  accessors.access_mem = &access_mem;
  accessors.access_reg = &access_reg;
  accessors.access_fpreg = &access_fpreg;
  accessors.resume = &resume;
  accessors.get_proc_name = &get_proc_name;
  return accessors;
}

}  // namespace vigil::sampler
