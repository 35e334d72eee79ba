// The checker must complain about each broken rule, and must not about a sound profile.
#include "tests/support/pprof_checker.h"

#include <algorithm>
#include <functional>

#include "tests/support/catch.h"

namespace vigil::test {
namespace {

PprofProfile sound_profile() {
  PprofProfile p;
  p.strings = {"",      "cpu",        "nanoseconds",     "/bin/demo",
               "0a1b",  "demo::work", "_ZN4demo4workEv", "/src/work.cc",
               "route", "GET /work"};
  p.sample_types = {{1, 2}};
  p.default_sample_type = 1;
  p.period_type = {1, 2};
  p.period = 10'000'000;
  p.time_nanos = 1;
  p.mappings = {{1, 0x1000, 0x3000, 0, 3, 4, true, true, true, true}};
  p.functions = {{1, 5, 6, 7, 10}};
  p.locations = {{1, 1, 0x1100, {{1, 11}}}, {2, 1, 0x1200, {{1, 12}}}};
  p.samples = {{{1, 2}, {5}, {{8, 9, 0, 0}}}};
  return p;
}

struct Rule {
  const char* complaint;
  std::function<void(PprofProfile&)> break_it;
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> kRules = {
      {"string_table[0] is not empty", [](auto& p) { p.strings[0] = "x"; }},
      {"string_table[0] is not empty", [](auto& p) { p.strings.clear(); }},
      {"not valid UTF-8", [](auto& p) { p.strings[5] = "\xff"; }},
      {"string of a comment is out of range", [](auto& p) { p.comments = {99}; }},
      {"no sample_type", [](auto& p) { p.sample_types.clear(); }},
      {"a sample type has no name", [](auto& p) { p.sample_types[0].type = 0; }},
      {"a sample type has '-'", [](auto& p) { p.strings[1] = "cpu-time"; }},
      {"string of a sample unit", [](auto& p) { p.sample_types[0].unit = -1; }},
      {"default_sample_type is no sample type", [](auto& p) { p.default_sample_type = 2; }},
      {"time_nanos is not set", [](auto& p) { p.time_nanos = 0; }},
      {"duration_nanos is negative", [](auto& p) { p.duration_nanos = -1; }},
      {"mapping id is not sequential", [](auto& p) { p.mappings[0].id = 2; }},
      {"location id is not sequential",
       [](auto& p) { std::swap(p.locations[0].id, p.locations[1].id); }},
      {"function id is not sequential", [](auto& p) { p.functions[0].id = 0; }},
      {"a mapping has no extent", [](auto& p) { p.mappings[0].memory_limit = 0x1000; }},
      {"a mapping has no file name", [](auto& p) { p.mappings[0].filename = 0; }},
      {"a build-id is not lower-case hex", [](auto& p) { p.strings[4] = "0A1B"; }},
      {"a location's address is zero", [](auto& p) { p.locations[0].address = 0; }},
      {"two locations share an address", [](auto& p) { p.locations[1].address = 0x1100; }},
      {"a location's mapping does not exist", [](auto& p) { p.locations[0].mapping_id = 2; }},
      {"a location is outside its mapping", [](auto& p) { p.locations[0].address = 0x3000; }},
      {"a line's function does not exist",
       [](auto& p) { p.locations[0].lines[0].function_id = 2; }},
      {"a line's function does not exist",
       [](auto& p) { p.locations[0].lines[0].function_id = 0; }},
      {"a function has no name", [](auto& p) { p.functions[0].name = 0; }},
      {"string of a system name", [](auto& p) { p.functions[0].system_name = 10; }},
      {"not one value for each sample_type", [](auto& p) { p.samples[0].values.push_back(1); }},
      {"a sample has no location", [](auto& p) { p.samples[0].location_ids.clear(); }},
      {"a sample's location does not exist", [](auto& p) { p.samples[0].location_ids[0] = 0; }},
      {"a sample's location does not exist", [](auto& p) { p.samples[0].location_ids[0] = 3; }},
      {"the same addresses and labels", [](auto& p) { p.samples.push_back(p.samples[0]); }},
      {"the first mapping is not a file's", [](auto& p) { p.strings[3] = "[vdso]"; }},
      {"no period", [](auto& p) { p.period = 0; }},
      {"no period", [](auto& p) { p.period_type = {}; }},
      {"a label has no key", [](auto& p) { p.samples[0].labels[0].key = 0; }},
      {"a label has a reserved key", [](auto& p) { p.strings[8] = "pprof::base"; }},
      {"a label is both text and number", [](auto& p) { p.samples[0].labels[0].num = 1; }},
      {"has_functions, but", [](auto& p) { p.locations[0].lines.clear(); }},
      {"has_filenames, but", [](auto& p) { p.functions[0].filename = 0; }},
      {"has_line_numbers, but", [](auto& p) { p.locations[0].lines[0].line = 0; }},
  };
  return kRules;
}

bool mentions(const std::vector<std::string>& complaints, const std::string& what) {
  return std::any_of(complaints.begin(), complaints.end(), [&](const std::string& complaint) {
    return complaint.find(what) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("pprof checker: a sound profile has no complaints") {
  CHECK(check_pprof(sound_profile()).empty());
}

TEST_CASE("pprof checker: every broken rule is named") {
  for (const Rule& rule : rules()) {
    PprofProfile profile = sound_profile();
    rule.break_it(profile);
    INFO(rule.complaint);
    CHECK(mentions(check_pprof(profile), rule.complaint));
  }
}

TEST_CASE("pprof checker: bytes that are no profile are refused") {
  CHECK_FALSE(gunzip("not gzip"));
  CHECK_FALSE(gunzip(""));
  CHECK_FALSE(read_pprof("\x1f\x8b"));
  CHECK_FALSE(decode_pprof("\x0a\x7f"));  // a field that is longer than the message
  CHECK(decode_pprof(""));                // the empty message is one
}

TEST_CASE("pprof checker: totals by function") {
  const PprofProfile profile = sound_profile();
  CHECK(pprof_total(profile, "cpu", "demo::work") == 5);
  CHECK(pprof_total(profile, "cpu", "demo::rest") == 0);
}

}  // namespace vigil::test
