// The heap page of a server that does not run on tcmalloc (every sanitizer build: the sanitizer has
// its own allocator).

#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

TEST_CASE("without tcmalloc the heap page is 501 with a sentence that says what to do") {
  Demo demo;
  const HttpAnswer answer = demo.debug_get("/debug/pprof/heap");
  CHECK(answer.status == 501);
  CHECK(answer.header("X-Go-Pprof") == "1");
  CHECK(answer.body.find("tcmalloc") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
