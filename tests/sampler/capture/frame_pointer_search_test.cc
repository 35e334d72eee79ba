#include "sampler/frame_pointer_search.h"

#include <cstring>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

constexpr std::uintptr_t kCodeStart = 0x400000;
constexpr std::uintptr_t kFunction = kCodeStart + 0x100;  // the one whose rbp is lost
constexpr std::uintptr_t kStackStart = 0x7fff0000;

// Code and a stack that exist only here.
class FakeProgram final : public CodeOracle {
 public:
  FakeProgram() : code_(0x1000, 0x90), stack_(64, 0) {}

  bool is_code(std::uintptr_t address) override {
    return address >= kCodeStart && address < kCodeStart + code_.size();
  }
  std::optional<std::uint64_t> read_word(std::uintptr_t address) override {
    if (!is_code(address) || !is_code(address + 7)) return std::nullopt;
    std::uint64_t word = 0;
    std::memcpy(&word, &code_[address - kCodeStart], sizeof word);
    return word;
  }

  void put(std::uintptr_t address, std::initializer_list<int> bytes) {
    for (const int byte : bytes) code_[address++ - kCodeStart] = static_cast<unsigned char>(byte);
  }
  // A direct call that ends at `back`.
  void put_call(std::uintptr_t back, std::uintptr_t target) {
    const auto offset = static_cast<std::uint32_t>(target - back);
    put(back - 5, {0xe8, static_cast<int>(offset & 0xff), static_cast<int>(offset >> 8 & 0xff),
                   static_cast<int>(offset >> 16 & 0xff), static_cast<int>(offset >> 24)});
  }
  void put_word(std::uintptr_t address, std::uint64_t word) {
    std::memcpy(&code_[address - kCodeStart], &word, sizeof word);
  }
  static std::uintptr_t slot(std::size_t index) { return kStackStart + index * 8; }
  void push(std::size_t index, std::uintptr_t saved_rbp, std::uintptr_t back) {
    stack_[index] = saved_rbp;
    stack_[index + 1] = back;
  }
  std::optional<std::uintptr_t> search(std::uintptr_t sp = kStackStart) {
    const StackCopy copy{kStackStart, std::as_bytes(std::span(stack_)), 0};
    return find_frame_pointer(copy, sp, kFunction, *this);
  }

 private:
  std::vector<unsigned char> code_;
  std::vector<std::uint64_t> stack_;
};

TEST_CASE("the call in front of a return address") {
  FakeProgram program;
  const std::uintptr_t back = kCodeStart + 0x800;
  program.put_call(back, kFunction);
  CHECK(call_before(back, program).kind == CallKind::kDirect);
  CHECK(call_before(back, program).target == kFunction);
  CHECK(call_before(back + 1, program).kind == CallKind::kNone);
  CHECK(call_before(0, program).kind == CallKind::kNone);
  CHECK(call_before(kCodeStart + 0x1000 + 16, program).kind == CallKind::kNone);
}

TEST_CASE("a direct call out of all code is none") {
  FakeProgram program;
  program.put_call(kCodeStart + 0x800, 0x10);
  CHECK(call_before(kCodeStart + 0x800, program).kind == CallKind::kNone);
}

TEST_CASE("indirect calls in their encodings") {
  const std::uintptr_t back = kCodeStart + 0x800;
  const std::vector<std::vector<int>> encodings = {
      {0xff, 0xd0},                                // call *%rax
      {0x41, 0xff, 0xd4},                          // call *%r12
      {0xff, 0x10},                                // call *(%rax)
      {0xff, 0x50, 0x18},                          // call *0x18(%rax)
      {0xff, 0x90, 0x00, 0x01, 0x00, 0x00},        // call *0x100(%rax)
      {0xff, 0x15, 0x00, 0x10, 0x00, 0x00},        // call *0x1000(%rip)
      {0xff, 0x14, 0xc8},                          // call *(%rax,%rcx,8)
      {0xff, 0x54, 0x24, 0x08},                    // call *8(%rsp)
      {0xff, 0x14, 0xc5, 0x00, 0x00, 0x40, 0x00},  // call *0x400000(,%rax,8)
  };
  for (const auto& encoding : encodings) {
    FakeProgram program;
    std::uintptr_t at = back - encoding.size();
    for (const int byte : encoding) program.put(at++, {byte});
    CAPTURE(encoding);
    CHECK(call_before(back, program).kind == CallKind::kIndirect);
  }
  FakeProgram jump;
  jump.put(back - 2, {0xff, 0xe0});  // jmp *%rax
  CHECK(call_before(back, jump).kind == CallKind::kNone);
}

TEST_CASE("the pair of a direct call to the function is found, others are passed over") {
  FakeProgram program;
  const std::uintptr_t back = kCodeStart + 0x800;
  const std::uintptr_t other = kCodeStart + 0x900;
  program.put_call(back, kFunction);
  program.put_call(other, kFunction + 0x40);
  program.push(4, FakeProgram::slot(20), other);  // stale: a call to something else
  program.push(8, 0x1234, back);                  // no stack address before the return address
  program.push(12, FakeProgram::slot(4), back);   // a link that goes down
  program.push(16, FakeProgram::slot(30), back);
  CHECK(program.search() == FakeProgram::slot(16));
  CHECK(program.search(FakeProgram::slot(16)) == FakeProgram::slot(16));
  CHECK_FALSE(program.search(FakeProgram::slot(17)));
}

TEST_CASE("a call through the procedure linkage table is followed to its function") {
  const std::uintptr_t stub = kCodeStart + 0x200;
  const std::uintptr_t word = kCodeStart + 0x300;
  const std::uintptr_t back = kCodeStart + 0x800;
  FakeProgram program;
  const auto jump = [&](std::uintptr_t at) {
    program.put(at, {0xff, 0x25, static_cast<int>((word - at - 6) & 0xff), 0, 0, 0});
  };
  SECTION("plain") { jump(stub); }
  SECTION("endbr64") {
    program.put(stub, {0xf3, 0x0f, 0x1e, 0xfa});
    jump(stub + 4);
  }
  SECTION("endbr64 and bnd") {
    program.put(stub, {0xf3, 0x0f, 0x1e, 0xfa, 0xf2});
    jump(stub + 5);
  }
  program.put_call(back, stub);
  program.push(6, 0, back);
  program.put_word(word, kFunction);
  CHECK(plt_target(stub, program) == kFunction);
  CHECK(program.search() == FakeProgram::slot(6));
  program.put_word(word, kFunction + 1);
  CHECK_FALSE(program.search());
  CHECK_FALSE(plt_target(kFunction, program));
}

TEST_CASE("an indirect call counts only if its chain holds") {
  FakeProgram program;
  const std::uintptr_t indirect = kCodeStart + 0x800;
  const std::uintptr_t direct = kCodeStart + 0x900;
  program.put(indirect - 2, {0xff, 0xd0});
  program.put_call(direct, kFunction + 0x40);
  program.push(10, FakeProgram::slot(20), indirect);
  CHECK_FALSE(program.search());
  program.push(20, FakeProgram::slot(30), direct);
  CHECK_FALSE(program.search());
  program.push(30, 0, direct);
  CHECK(program.search() == FakeProgram::slot(10));
}

TEST_CASE("a direct call beats an indirect one that comes before it") {
  FakeProgram program;
  const std::uintptr_t indirect = kCodeStart + 0x800;
  const std::uintptr_t direct = kCodeStart + 0x900;
  program.put(indirect - 2, {0xff, 0xd0});
  program.put_call(direct, kFunction);
  program.push(10, 0, indirect);
  CHECK(program.search() == FakeProgram::slot(10));
  program.push(40, 0, direct);
  CHECK(program.search() == FakeProgram::slot(40));
}

TEST_CASE("the frame of a signal handler ends the search") {
  FakeProgram program;
  const std::uintptr_t trampoline = kCodeStart + 0x600;
  const std::uintptr_t indirect = kCodeStart + 0x800;
  program.put(trampoline, {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05});
  program.put(indirect - 2, {0xff, 0xd0});
  program.push(40, 0, indirect);
  CHECK(program.search() == FakeProgram::slot(40));
  program.push(20, 0x1234, trampoline);
  CHECK(program.search() == FakeProgram::slot(20));
  program.push(10, FakeProgram::slot(20), indirect);  // called by the handler
  CHECK(program.search() == FakeProgram::slot(10));
}

TEST_CASE("wild stack pointers find nothing") {
  FakeProgram program;
  for (const std::uintptr_t sp :
       {std::uintptr_t{0}, kStackStart - 8, kStackStart + 64 * 8, UINTPTR_MAX}) {
    CAPTURE(sp);
    CHECK_FALSE(program.search(sp));
  }
}

}  // namespace
}  // namespace vigil::sampler
