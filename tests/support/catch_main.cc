// The main() of every test program: Catch2's, but a test case without an assertion fails, and so
// does a name that matches no test case. (Catch2's own NoAssertions also complains about sections
// that only vary the set-up.)
#define CATCH_CONFIG_RUNNER
#include <cstdio>
#include <limits>
#include <locale>

#include "tests/support/catch.h"

// ThreadSanitizer asks each program for what it is not to report. Of libraries that are compiled
// without it, it does not see what orders their threads
// (https://github.com/google/sanitizers/wiki/ThreadSanitizerCppManual, "Non-instrumented code"):
//   - libcpp-httplib, of the tests' clients, makes its regular expressions once, as static objects
//     of its functions, and matches with them on each thread.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__detail::_CharMatcher\n"
         "race:std::__detail::_BracketMatcher\n";
}

namespace {

// The standard library's facet fills a table when it is first asked, on whichever thread, and
// std::regex asks it: https://gcc.gnu.org/PR77704.
void fill_table_of_narrow_characters() {
  const auto& facet = std::use_facet<std::ctype<char>>(std::locale::classic());
  for (int c = 0; c <= std::numeric_limits<unsigned char>::max(); ++c) {
    (void)facet.narrow(static_cast<char>(c), '\0');
  }
}

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
  fill_table_of_narrow_characters();
  Catch::Session session;
  session.configData().warnings = Catch::WarnAbout::NoTests;
  const int status = session.run(argc, argv);
  return status == 0 && cases_without_assertion > 0 ? 1 : status;
}
