// Variables whose effect is seen in a running program only; what they may be is in agent/environment_test.cc.
#include <string>

#include "tests/integration/agent/preloaded.h"
#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"

using namespace vigil::test;  // NOLINT: a test

TEST_CASE("watermarks of a preloaded program: its descriptors, not the agent's, and its threads") {
  Preloaded program({"spin", "60"},
                    {{"VIGIL_WATERMARK_DESCRIPTORS", "2"}, {"VIGIL_WATERMARK_THREADS", "1"}});
  // The standard streams, and what it may have got from who runs this test.
  const std::string descriptors = std::to_string(descriptor_count(program.process().pid()));
  CHECK(program.process().wait_for_err(R"("what":"descriptors","value":)" + descriptors +
                                       R"(,"limit":2)"));
  CHECK(program.process().wait_for_err(R"("what":"threads")"));
  // What the agent has open (listener, epoll, reserves) is in a table of its own.
  Preloaded other({"spin", "60"},
                  {{"VIGIL_WATERMARK_DESCRIPTORS", descriptors}, {"VIGIL_WATERMARK_THREADS", "1"}});
  CHECK(other.process().wait_for_err(R"("what":"threads")"));
  CHECK(other.process().err().find(R"("what":"descriptors")") == std::string::npos);
}

TEST_CASE("profiles of a preloaded program are kept without anybody asking") {
  Preloaded program({"spin", "60"},
                    {{"VIGIL_KEEP_PROFILES", "1s"}, {"VIGIL_KEEP_PROFILES_LENGTH", "1s"}});
  CHECK(program.get_until("/debug/profiles", "every 1s").find("cpu") != std::string::npos);
  CHECK(Preloaded({"spin", "60"}).get("/debug/profiles").status == 501);
}
