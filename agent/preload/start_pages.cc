#include "agent/preload/start_pages.h"

#include <link.h>
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vigil::preload {
namespace {

constexpr std::uintptr_t kPage = 4096;
// Opened by the sampler, and used for pages only. A program that uses one of them too has its pages back at its next call.
constexpr std::array<std::string_view, 3> kOpened = {"/libdw", "/libelf", "/libunwind-x86_64"};

constexpr char kHere = 0;

bool is_the_agents(const dl_phdr_info& module) {
  const std::string_view path = module.dlpi_name;
  for (const std::string_view name : kOpened) {
    if (path.find(name) != std::string_view::npos) return true;
  }
  const auto here = reinterpret_cast<std::uintptr_t>(&kHere);
  for (std::size_t i = 0; i < module.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = module.dlpi_phdr[i];
    const std::uintptr_t begin = module.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && here >= begin && here - begin < segment.p_memsz) return true;
  }
  return false;
}

int let_go(dl_phdr_info* module, std::size_t, void*) {
  if (!is_the_agents(*module)) return 0;
  for (std::size_t i = 0; i < module->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = module->dlpi_phdr[i];
    // What can be written may have been, and would be the file's again.
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (module->dlpi_addr + segment.p_vaddr) / kPage * kPage;
    const std::uintptr_t end = module->dlpi_addr + segment.p_vaddr + segment.p_memsz;
    (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void let_go_of_start_pages() noexcept { ::dl_iterate_phdr(let_go, nullptr); }

}  // namespace vigil::preload
