#include "sampler/module_table.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "sampler/elf_image.h"
#include "sampler/memory_reader.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

std::shared_ptr<const ModuleTable> table_of_this_process() {
  static Modules modules;
  auto table = modules.refresh();
  REQUIRE(table);
  return *table;
}

// A function that no sanitizer intercepts.
std::uintptr_t address_of_libc() {
  return reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));
}

TEST_CASE("the main executable comes first") {
  const auto table = table_of_this_process();
  REQUIRE_FALSE(table->modules().empty());
  const Module& main = table->modules().front();
  CHECK(main.is_main);
  CHECK(main.contains(reinterpret_cast<std::uintptr_t>(&address_of_libc)));
  CHECK(table->find(reinterpret_cast<std::uintptr_t>(&address_of_libc)) == &main);
  CHECK(main.path.ends_with("test-sampler-capture"));
  CHECK(main.unwind_table);
  CHECK(std::count_if(table->modules().begin(), table->modules().end(),
                      [](const Module& module) { return module.is_main; }) == 1);
}

TEST_CASE("the C library is found, with the build-id and load address that the loader knows") {
  const auto table = table_of_this_process();
  const Module* libc = table->find(address_of_libc());
  REQUIRE(libc != nullptr);
  Dl_info info{};
  REQUIRE(dladdr(reinterpret_cast<void*>(address_of_libc()), &info) != 0);
  CHECK(libc->load_bias == reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  CHECK(libc->build_id.size() == 40);
  CHECK(libc->build_id.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(libc->path.find("libc") != std::string::npos);
  REQUIRE(libc->unwind_table);
  CHECK(libc->unwind_table->count > 1000);
  CHECK(libc->unwind_table->header >= libc->image_start);
  CHECK(libc->unwind_table->header < libc->image_end);
  CHECK_FALSE(libc->is_main);
}

TEST_CASE("the vdso is a module with an unwind table") {
  const auto table = table_of_this_process();
  const Module* vdso = table->find_image(getauxval(AT_SYSINFO_EHDR));
  REQUIRE(vdso != nullptr);
  CHECK(vdso->path == "[vdso]");
  CHECK(vdso->unwind_table);
}

TEST_CASE("addresses outside of code have no module") {
  const auto table = table_of_this_process();
  int local = 0;
  const Module& main = table->modules().front();
  for (const std::uintptr_t address :
       {std::uintptr_t{0}, UINTPTR_MAX, reinterpret_cast<std::uintptr_t>(&local)}) {
    CHECK(table->find(address) == nullptr);
    CHECK(table->find_image(address) == nullptr);
    CHECK_FALSE(table->is_code(address));
  }
  CHECK(table->find(main.start) == &main);
  CHECK(table->find(main.end - 1) == &main);
  CHECK(table->find(main.start - 1) != &main);
  CHECK(table->find(main.end) != &main);
  CHECK(table->main_stack_end() > reinterpret_cast<std::uintptr_t>(&local));
}

TEST_CASE("refresh keeps the pointer until code is mapped or unmapped") {
  Modules modules;
  const auto first = *modules.refresh();
  CHECK(*modules.refresh() == first);
  CHECK(modules.current() == first);
  void* data = mmap(nullptr, 64 * kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(*modules.refresh() == first);
  void* code = mmap(nullptr, kPageBytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto second = *modules.refresh();
  CHECK(second != first);
  CHECK(second->is_code(reinterpret_cast<std::uintptr_t>(code)));
  CHECK(second->find(reinterpret_cast<std::uintptr_t>(code)) == nullptr);
  munmap(code, kPageBytes);
  munmap(data, 64 * kPageBytes);
  CHECK_FALSE((*modules.refresh())->is_code(reinterpret_cast<std::uintptr_t>(code)));
}

// An ELF header with two program headers in a page of its own.
struct FakeImage {
  struct Content {
    Elf64_Ehdr header{};
    Elf64_Phdr segments[2]{};
  };
  FakeImage()
      : memory(
            mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        content(new (memory) Content) {
    Elf64_Ehdr& header = content->header;
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = EM_X86_64;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    header.e_phoff = offsetof(Content, segments);
    content->segments[0] = {PT_LOAD, PF_R | PF_X, 0, 0, 0, kPageBytes, kPageBytes, kPageBytes};
    content->segments[1] = {PT_NOTE, PF_R, 0, 0, 0, 0, 0, 4};
  }
  ~FakeImage() { munmap(memory, kPageBytes); }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(memory); }

  void* memory;
  Content* content;
};

TEST_CASE("a plain image is read, its twin with garbage is refused") {
  FakeImage image;
  const auto read = read_elf_image(image.address());
  REQUIRE(read);
  CHECK(read->load_bias == image.address());
  CHECK(read->code.size() == 1);
  CHECK_FALSE(read->unwind_table);
  Elf64_Ehdr& header = image.content->header;
  Elf64_Phdr& load = image.content->segments[0];
  SECTION("magic") { header.e_ident[0] = 0; }
  SECTION("another machine") { header.e_machine = EM_AARCH64; }
  SECTION("32 bits") { header.e_ident[EI_CLASS] = ELFCLASS32; }
  SECTION("no program headers") { header.e_phnum = 0; }
  SECTION("too many program headers") { header.e_phnum = 257; }
  SECTION("program headers outside") { header.e_phoff = kPageBytes; }
  SECTION("program headers wrap around") { header.e_phoff = UINT64_MAX - 8; }
  SECTION("size wraps around") { load.p_memsz = UINT64_MAX; }
  SECTION("address wraps around") { load.p_vaddr = UINT64_MAX - 100; }
  SECTION("no segment at the file's start") { load.p_offset = kPageBytes; }
  CHECK_FALSE(read_elf_image(image.address()));
}

TEST_CASE("unwind tables and notes that lie about their size are left out") {
  FakeImage image;
  Elf64_Phdr& second = image.content->segments[1];
  auto* bytes = static_cast<unsigned char*>(image.memory);
  constexpr std::size_t kAt = 2048;
  second.p_vaddr = kAt;
  const unsigned char table[12] = {1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 2, 0, 0, 0};
  std::memcpy(bytes + kAt, table, sizeof table);
  second.p_type = PT_GNU_EH_FRAME;
  second.p_memsz = 12 + 2 * 8;
  REQUIRE(read_elf_image(image.address())->unwind_table);
  SECTION("count beyond the segment") { bytes[kAt + 8] = 3; }
  SECTION("huge count") { std::memset(bytes + kAt + 8, 0xff, 4); }
  SECTION("no entries") { bytes[kAt + 8] = 0; }
  SECTION("version") { bytes[kAt] = 2; }
  SECTION("encoding of the table") { bytes[kAt + 3] = 0x1b; }
  SECTION("unmapped") { second.p_vaddr = std::uint64_t{1} << 40; }
  CHECK_FALSE(read_elf_image(image.address())->unwind_table);
}

TEST_CASE("the build-id is found behind other notes, and only whole") {
  FakeImage image;
  Elf64_Phdr& note = image.content->segments[1];
  constexpr std::size_t kAt = 2048;
  note.p_vaddr = kAt;
  const std::uint32_t notes[] = {4,          4,         1,
                                 0x00554e47, 0,  // another GNU note
                                 4,          3,         NT_GNU_BUILD_ID,
                                 0x00554e47, 0x00c0ffee};  // three bytes
  std::memcpy(static_cast<char*>(image.memory) + kAt, notes, sizeof notes);
  note.p_memsz = sizeof notes;
  CHECK(read_elf_image(image.address())->build_id == "eeffc0");
  note.p_memsz = sizeof notes - 4;
  CHECK(read_elf_image(image.address())->build_id.empty());
}

TEST_CASE("random bytes are never taken for an image and never crash") {
  FakeImage image;
  std::srand(1);
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    new (image.memory) FakeImage::Content(*image.content);
    auto* bytes = static_cast<unsigned char*>(image.memory);
    const FakeImage::Content saved = *image.content;
    for (int i = 0; i < 4; ++i) {
      bytes[SELFMAG + std::rand() % (sizeof(FakeImage::Content) - SELFMAG)] =
          static_cast<unsigned char>(std::rand());
    }
    if (const auto read = read_elf_image(image.address())) {
      ++taken;
      for (const ElfSegment& segment : read->code) REQUIRE(segment.start < segment.end);
    }
    *image.content = saved;
  }
  CHECK(taken > 0);
  CHECK(taken < 20000);
}

}  // namespace
}  // namespace vigil::sampler
