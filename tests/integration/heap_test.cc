// The heap profile of a server that runs on tcmalloc.

#include <regex>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

TEST_CASE("the heap profile names the function that keeps the memory") {
  Demo demo;
  // 1,024 samples at one in 512 KiB: a standard deviation of 3 %.
  REQUIRE(demo.get("/alloc?kb=524288").status == 200);
  const Finished top =
      go_pprof({"-top", "-sample_index=inuse_space", demo.debug_url("/debug/pprof/heap")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  // Flat: the allocator's own frames are not what a person looks for.
  const std::regex row(R"(\n\s*([0-9.]+)MB\s.*\sdemo::remember\n)");
  std::smatch match;
  REQUIRE(std::regex_search(top.out, match, row));
  CHECK(std::stod(match[1]) == Approx(512).epsilon(0.15));
  CHECK(demo.debug_get("/debug/pprof/heap?debug=1").body.find("heap profile: ") == 0);
}

}  // namespace
}  // namespace vigil::test
