// The main() of every test program: Catch2's, but a test case without an assertion fails, and so
// does a name that matches no test case. (Catch2's own NoAssertions also complains about sections
// that only vary the set-up.)
#define CATCH_CONFIG_RUNNER
#include <cstdio>

#include "tests/support/catch.h"

namespace {

int cases_without_assertion = 0;

class AssertionCounter final : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    if (stats.totals.assertions.total() > 0) return;
    ++cases_without_assertion;
    std::printf("no assertion in: %s\n", stats.testInfo.name.c_str());
  }
};

CATCH_REGISTER_LISTENER(AssertionCounter)

}  // namespace

int main(int argc, char** argv) {
  Catch::Session session;
  session.configData().warnings = Catch::WarnAbout::NoTests;
  const int status = session.run(argc, argv);
  return status == 0 && cases_without_assertion > 0 ? 1 : status;
}
