// What the pages show of a program that was never built for them.
#include <signal.h>

#include <string>
#include <vector>

#include "tests/integration/agent/preloaded.h"
#include "tests/support/catch.h"
#include "tests/support/go_pprof.h"

using namespace vigil::test;  // NOLINT: a test
using vigil::HostPort;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string top(const Preloaded& program, const std::string& page,
                std::vector<std::string> options = {}) {
  options.insert(options.begin(), "-top");
  options.push_back("http://" + vigil::format_host_port(program.debug()) + page);
  const Finished done = go_pprof(options);
  return done.out + done.err;
}

// The first line of `text` with `part`.
std::string line_with(const std::string& text, const std::string& part) {
  const std::size_t at = text.find(part);
  if (at == std::string::npos) return "";
  const std::size_t begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

}  // namespace

TEST_CASE("a preloaded program's CPU and wall profiles") {
  Preloaded program({"spin", "60"});
  const std::string cpu = top(program, "/debug/pprof/profile?seconds=2");
  CHECK(has(cpu, "target_spins"));
  const std::string wall = top(program, "/debug/pprof/wall?seconds=1");
  CHECK(has(wall, "target_spins"));
}

TEST_CASE("a preloaded program's heap: malloc and new, by whatever allocator") {
  const std::string allocator = GENERATE("", "libjemalloc.so.2:", "libtcmalloc.so.4:");
  INFO("behind us: " << allocator);
  const std::string preload =
      std::string(kAgentLibrary) +
      (allocator.empty() ? "" : ":" + allocator.substr(0, allocator.size() - 1));
  Preloaded program({"allocate"}, {{"LD_PRELOAD", preload}, {"VIGIL_HEAP_SAMPLE", "65536"}});
  REQUIRE(program.process().wait_for_out("allocated 8192"));
  const std::string heap = top(program, "/debug/pprof/heap", {"-unit=MB", "-cum"});
  INFO(heap);
  // 64 MiB and 32 MiB; the sampling error of 1,000 samples is 3 %, of 500 4.5 %.
  const auto megabytes = [&heap](const std::string& function) {
    const std::string line = line_with(heap, function);
    REQUIRE(!line.empty());
    // flat flat% sum% cum cum% name
    std::size_t begin = 0;
    for (int column = 0; column < 3; ++column) {
      begin = line.find_first_not_of(' ', line.find(' ', line.find_first_not_of(' ', begin)));
    }
    return std::stod(line.substr(begin));
  };
  CHECK(megabytes("target_retains") == Approx(64).epsilon(0.2));
  CHECK(megabytes("target_news") == Approx(32).epsilon(0.25));
  CHECK_FALSE(has(heap, "record_allocation"));
}

TEST_CASE("a preloaded program's contention: who waits, and for whom") {
  Preloaded program({"contend"});
  REQUIRE(program.process().wait_for_out("contending"));
  CHECK(has(program.get_until("/debug/pprof/mutex?debug=1", "target_holds"), "target_holds"));
  CHECK(has(program.get_until("/debug/pprof/block?debug=1", "target_waits"), "target_waits"));
  CHECK(program.get("/debug/locks").status == 200);
}

TEST_CASE("a preloaded program's dump, threads, leakwatch and metrics") {
  Preloaded program({"contend"});
  const std::string dump = program.get_until("/debug/pprof/goroutine?debug=2", "target_holds");
  CHECK(has(dump, "target_holds"));
  CHECK(has(dump, "target_waits"));
  CHECK(has(program.get("/debug/pprof/threadcreate?debug=1").body, "contend"));
  CHECK(program.get("/debug/leakwatch").status == 200);
  CHECK(has(program.get("/metrics").body, "process_resident_memory_bytes"));
  CHECK(program.get("/debug/tasks").status == 200);
}

TEST_CASE("the library opened at run time: an agent by its C interface, again and again") {
  Subprocess program({kTargetProgram, "dlopen", kAgentLibrary});
  HostPort before;
  for (std::size_t times = 1; times <= 3; ++times) {
    REQUIRE(program.wait_for_out("serves at ", times));
    const std::string said = program.out();
    const std::string address = said.substr(said.rfind("serves at ") + 10);
    const HostPort debug = vigil::parse_host_port(address.substr(0, address.find('\n'))).value();
    if (before.port != 0 && before.port != debug.port) {
      CHECK(http_get(before, "/debug/pprof/").status == 0);
    }
    CHECK(has(http_get(debug, "/debug/pprof/goroutine?debug=2").body, "target_spins"));
    const Finished cpu = go_pprof(
        {"-top", "http://" + vigil::format_host_port(debug) + "/debug/pprof/profile?seconds=1"});
    CHECK(has(cpu.out, "target_spins"));
    CHECK(http_get(debug, "/debug/pprof/heap").status == 501);
    before = debug;
    program.kill(SIGUSR1);
  }
  CHECK(has(program.out(), "nonsense=1: there is no such setting"));
  CHECK(has(program.out(), "neither listen= nor VIGIL_LISTEN is set"));
}
