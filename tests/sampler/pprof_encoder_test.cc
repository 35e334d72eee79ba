#include "sampler/pprof_encoder.h"

#include "tests/sampler/profile_samples.h"
#include "tests/support/catch.h"
#include "tests/support/pprof_checker.h"

namespace vigil::sampler {
namespace {

using namespace profile_test;

// A profile with every part of the model, made by hand.
Profile full_profile() {
  Profile p;
  p.name = "profile";
  p.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  p.default_sample_type = "cpu";
  p.period_type = {"cpu", "nanoseconds"};
  p.period = 10'000'000;
  p.start = WallTime(std::chrono::nanoseconds(1'700'000'000'123'456'789));
  p.duration = std::chrono::seconds(5);
  p.mappings = {{.start = 0x400000,
                 .limit = 0x500000,
                 .file_offset = 0x1000,
                 .path = "/bin/demo",
                 .build_id = "00ff",
                 .load_bias = 0,
                 .has_functions = true,
                 .has_filenames = true,
                 .has_line_numbers = true,
                 .has_inline_frames = true},
                {.start = 0x7f0000000000,
                 .limit = 0x7f0000100000,
                 .file_offset = 0,
                 .path = "/lib/libc.so.6",
                 .build_id = "",
                 .load_bias = 0}};
  p.functions = {{"demo::work", "_ZN4demo4workEv", "/src/work.cc", 10},
                 {"demo::inner", "_ZN4demo5innerEv", "/src/work.cc", 3}};
  p.locations = {{MappingIndex{0}, 0x400100, 0x20, {{FunctionIndex{1}, 4}, {FunctionIndex{0}, 12}}},
                 {MappingIndex{1}, 0x7f0000000200, 0, {}},
                 {std::nullopt, 0x7fff00000000, 0, {}}};
  p.samples = {{{LocationIndex{0}, LocationIndex{1}},
                {3, 30'000'000},
                {{"bytes", "", 4096, "bytes"}, {"route", "GET /work", 0, ""}}},
               {{LocationIndex{2}}, {1, -10}, {}}};
  p.comments = {"vigil: samples_lost=12"};
  return p;
}

test::PprofProfile decoded(const Profile& profile) {
  auto result = test::read_pprof(encode_pprof(profile));
  REQUIRE(result);
  return *result;
}

}  // namespace

TEST_CASE("pprof: every part of the model is in the message") {
  const test::PprofProfile p = decoded(full_profile());
  CHECK(test::check_pprof(p).empty());
  REQUIRE(p.sample_types.size() == 2);
  CHECK(p.text(p.sample_types[1].type) == "cpu");
  CHECK(p.text(p.sample_types[1].unit) == "nanoseconds");
  CHECK(p.text(p.default_sample_type) == "cpu");
  CHECK(p.text(p.period_type.type) == "cpu");
  CHECK(p.period == 10'000'000);
  CHECK(p.time_nanos == 1'700'000'000'123'456'789);
  CHECK(p.duration_nanos == 5'000'000'000);
  REQUIRE(p.comments.size() == 1);
  CHECK(p.text(p.comments[0]) == "vigil: samples_lost=12");

  REQUIRE(p.mappings.size() == 2);
  CHECK(p.text(p.mappings[0].filename) == "/bin/demo");
  CHECK(p.text(p.mappings[0].build_id) == "00ff");
  CHECK(p.mappings[0].memory_start == 0x400000);
  CHECK(p.mappings[0].memory_limit == 0x500000);
  CHECK(p.mappings[0].file_offset == 0x1000);
  CHECK(p.mappings[0].has_inline_frames);
  CHECK_FALSE(p.mappings[1].has_functions);

  REQUIRE(p.locations.size() == 3);
  CHECK(p.locations[0].address == 0x400100);
  CHECK(p.locations[0].mapping_id == 1);
  REQUIRE(p.locations[0].lines.size() == 2);
  CHECK(p.locations[0].lines[0].line == 4);
  CHECK(p.text(p.functions.at(p.locations[0].lines[0].function_id - 1).name) == "demo::inner");
  CHECK(p.locations[2].mapping_id == 0);
  CHECK(p.text(p.functions[0].system_name) == "_ZN4demo4workEv");
  CHECK(p.text(p.functions[0].filename) == "/src/work.cc");
  CHECK(p.functions[0].start_line == 10);

  REQUIRE(p.samples.size() == 2);
  CHECK(p.samples[0].location_ids == std::vector<std::uint64_t>{1, 2});
  CHECK(p.samples[0].values == std::vector<std::int64_t>{3, 30'000'000});
  CHECK(p.samples[1].values == std::vector<std::int64_t>{1, -10});
  REQUIRE(p.samples[0].labels.size() == 2);
  CHECK(p.text(p.samples[0].labels[0].key) == "bytes");
  CHECK(p.samples[0].labels[0].num == 4096);
  CHECK(p.text(p.samples[0].labels[0].num_unit) == "bytes");
  CHECK(p.text(p.samples[0].labels[1].str) == "GET /work");
}

TEST_CASE("pprof: text that is not UTF-8 is repaired") {
  Profile in = full_profile();
  in.functions[0].name =
      "bad\xff"
      "name";
  in.samples[0].labels[1].text = "\xc3";
  const test::PprofProfile p = decoded(in);
  CHECK(test::check_pprof(p).empty());
  CHECK(p.text(p.functions[0].name) == "bad\xef\xbf\xbdname");
}

TEST_CASE("pprof: the same profile gives the same bytes") {
  CHECK(encode_pprof(full_profile()) == encode_pprof(full_profile()));
}

TEST_CASE("pprof: a profile without samples is sound") {
  Profile in = full_profile();
  in.samples.clear();
  in.locations.clear();
  in.functions.clear();
  CHECK(test::check_pprof(decoded(in)).empty());
}

TEST_CASE("pprof: a profile of this program, symbolized and not, is sound") {
  StackProfile in = cpu_profile();
  in.counters = {{"samples_lost", 3}};
  in.samples = {sample({in_leaf(), in_root()}, {3, 30}, {text_label("route", "GET /work")}),
                sample({in_root()}, {1, 10}), sample({FrameAddress::instruction(0x10000)}, {1, 10}),
                sample({}, {1, 10}, {}, StackEnd::kNotWalked)};
  const auto table = module_table();
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  const test::PprofProfile named = decoded(build_profile(in, *table, symbolizer->get()));
  CHECK(test::check_pprof(named) == std::vector<std::string>{});
  CHECK(test::pprof_total(named, "cpu", "vigil::sampler::profile_test::root") == 40);
  CHECK(test::pprof_total(named, "samples", "vigil::sampler::profile_test::leaf") == 3);
  const test::PprofProfile bare = decoded(build_profile(in, *table, nullptr));
  CHECK(test::check_pprof(bare) == std::vector<std::string>{});
  CHECK_FALSE(bare.mappings[0].has_functions);
}

}  // namespace vigil::sampler
