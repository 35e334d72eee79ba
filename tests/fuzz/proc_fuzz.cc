// The texts of /proc: a container, a new kernel or a cut read may show anything.

#include <string>

#include "sampler/maps_parser.h"
#include "sampler/module_table.h"
#include "sampler/proc_thread.h"
#include "sampler/wait_reason.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::sampler;
  using vigil::fuzz::fuzz_require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const MapsEntry& entry : parse_maps(text)) {
    fuzz_require(entry.start < entry.end, "a mapping has a size");
  }
  (void)parse_maps_line(text);
  if (const auto call = parse_thread_syscall(text)) {
    fuzz_require(!wait_reason(*call, 'S').empty(), "every call has a reason");
    (void)syscall_name(call->number);
    (void)survives_signal(*call);
    (void)waiting_descriptor(*call);
  }
  if (const auto stat = parse_thread_stat(text)) {
    fuzz_require(!wait_reason(ThreadSyscall{}, stat->state).empty(), "every state has a reason");
  }
  if (const auto status = parse_thread_status(text)) (void)status->blocks(64);
  (void)parse_schedstat(text);
  (void)parse_wait_channel(text);
  // The table reads ELF headers where the text says that there are some: wherever that is.
  const ModuleTable table(parse_maps(text));
  for (const Module& module : table.modules()) {
    fuzz_require(table.find(module.start) != nullptr, "a module is found by its address");
  }
  (void)table.is_code(size);
  return 0;
}
