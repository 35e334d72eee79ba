#include "server-core/handler_profile.h"

#include "tests/support/catch.h"

using namespace std::chrono_literals;
using vigil::http::HandlerProfile;

namespace {
void run_short(HandlerProfile& profile, int times) {
  for (int i = 0; i < times; ++i) profile.record(HandlerProfile::kShort - 1ns);
}
}  // namespace

TEST_CASE("a handler is inline after exactly 32 short activations in a row") {
  HandlerProfile profile;
  CHECK_FALSE(profile.runs_inline());
  run_short(profile, 31);
  CHECK_FALSE(profile.runs_inline());
  run_short(profile, 1);
  CHECK(profile.runs_inline());
}

TEST_CASE("an activation that is not short starts the streak anew") {
  HandlerProfile profile;
  run_short(profile, 31);
  profile.record(HandlerProfile::kShort);
  run_short(profile, 31);
  CHECK_FALSE(profile.runs_inline());
  run_short(profile, 1);
  CHECK(profile.runs_inline());
}

TEST_CASE("an inline handler is demoted when it is rescued, and the streak needed doubles") {
  HandlerProfile profile;
  run_short(profile, 32);
  profile.record_rescue();
  CHECK_FALSE(profile.runs_inline());
  profile.record(5ms);  // the rescued activation's own end: does not count twice
  run_short(profile, 63);
  CHECK_FALSE(profile.runs_inline());
  run_short(profile, 1);
  CHECK(profile.runs_inline());
}

TEST_CASE("an inline handler is demoted at the third long activation, unless one is forgiven") {
  HandlerProfile profile;
  run_short(profile, 32);
  for (int i = 0; i < 100; ++i) profile.record(HandlerProfile::kLong);  // at the limit: not long
  profile.record(HandlerProfile::kLong + 1ns);
  profile.record(HandlerProfile::kLong + 1ns);
  CHECK(profile.runs_inline());
  run_short(profile, HandlerProfile::kForgivenAfter);
  profile.record(HandlerProfile::kLong + 1ns);
  CHECK(profile.runs_inline());
  run_short(profile, HandlerProfile::kForgivenAfter - 1);
  profile.record(HandlerProfile::kLong + 1ns);
  CHECK_FALSE(profile.runs_inline());
}

TEST_CASE("the streak needed ends at 4096") {
  HandlerProfile profile;
  for (int i = 0; i < 20; ++i) {
    run_short(profile, 4096);
    REQUIRE(profile.runs_inline());
    profile.record_rescue();
  }
  run_short(profile, 4095);
  CHECK_FALSE(profile.runs_inline());
  run_short(profile, 1);
  CHECK(profile.runs_inline());
}
