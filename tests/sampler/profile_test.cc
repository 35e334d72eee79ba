#include "sampler/profile.h"

#include <algorithm>

#include "tests/sampler/profile_samples.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace profile_test;

std::unique_ptr<Symbolizer> make_symbolizer() {
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  return std::move(*symbolizer);
}

bool has_comment(const Profile& profile, const std::string& text) {
  return std::find(profile.comments.begin(), profile.comments.end(), text) !=
         profile.comments.end();
}

}  // namespace

TEST_CASE("profile: equal stacks and labels are added up, whatever the order of the labels") {
  StackProfile in = cpu_profile();
  const auto a = text_label("route", "GET /a");
  const auto b = text_label("method", "GET");
  in.samples = {sample({in_leaf(), in_root()}, {1, 10}, {a, b}), sample({in_leaf()}, {1, 10}),
                sample({in_leaf(), in_root()}, {2, 20}, {b, a}),
                sample({in_leaf(), in_root()}, {4, 40})};
  const Profile out = build_profile(in, *module_table(), nullptr);
  REQUIRE(out.samples.size() == 3);
  std::int64_t total = 0;
  for (const ProfileSample& s : out.samples) total += s.values[1];
  CHECK(total == 80);
  const auto merged = std::find_if(out.samples.begin(), out.samples.end(),
                                   [](const ProfileSample& s) { return s.labels.size() == 2; });
  REQUIRE(merged != out.samples.end());
  CHECK(merged->values == std::vector<std::int64_t>{3, 30});
  CHECK(merged->labels.front().key == "method");
}

TEST_CASE("profile: samples that add up to nothing are left out, as a difference has them") {
  StackProfile raw = cpu_profile();
  raw.samples = {sample({in_leaf()}, {2, 20}), sample({in_leaf()}, {-2, -20}),
                 sample({in_root()}, {1, 10}), sample({in_root()}, {-1, -9})};
  const Profile profile = build_profile(raw, *module_table(), nullptr);
  REQUIRE(profile.samples.size() == 1);
  CHECK(profile.samples[0].values == std::vector<std::int64_t>{0, 1});
}

TEST_CASE("profile: the order of the input does not show in the result") {
  StackProfile in = cpu_profile();
  in.samples = {sample({in_leaf(), in_root()}, {1, 10}), sample({in_root()}, {2, 20}),
                sample({in_leaf()}, {3, 30}, {text_label("k", "v")})};
  StackProfile reversed = in;
  std::reverse(reversed.samples.begin(), reversed.samples.end());
  const auto table = module_table();
  const Profile one = build_profile(in, *table, nullptr);
  const Profile two = build_profile(reversed, *table, nullptr);
  REQUIRE(one.samples.size() == two.samples.size());
  for (std::size_t i = 0; i < one.samples.size(); ++i) {
    CHECK(one.samples[i].locations == two.samples[i].locations);
    CHECK(one.samples[i].values == two.samples[i].values);
  }
  for (std::size_t i = 0; i < one.locations.size(); ++i) {
    CHECK(one.locations[i].address == two.locations[i].address);
  }
}

TEST_CASE("profile: locations are look-up addresses, one for each") {
  StackProfile in = cpu_profile();
  // The same byte as an instruction, and as what a return address looks up.
  const auto instruction = FrameAddress::instruction(in_root().lookup());
  in.samples = {sample({in_root()}, {1, 1}), sample({instruction}, {1, 1})};
  const Profile out = build_profile(in, *module_table(), nullptr);
  REQUIRE(out.locations.size() == 1);
  CHECK(out.locations[0].address == in_root().raw() - 1);
  CHECK(out.samples.size() == 1);
}

TEST_CASE("profile: the main program is the first mapping, even without samples") {
  const Profile out = build_profile(cpu_profile(), *module_table(), nullptr);
  REQUIRE(out.mappings.size() == 1);
  CHECK(out.mappings[0].path.ends_with("/test-profile"));
  CHECK(out.mappings[0].start < out.mappings[0].limit);
  CHECK_FALSE(out.mappings[0].has_functions);
  CHECK(out.samples.empty());
}

TEST_CASE("profile: symbols, and flags of the mapping") {
  StackProfile in = cpu_profile();
  in.samples = {sample({in_leaf(), in_root()}, {1, 10})};
  const auto table = module_table();
  const auto symbolizer = make_symbolizer();
  const Profile out = build_profile(in, *table, symbolizer.get());
  REQUIRE(out.locations.size() == 2);
  for (const ProfileLocation& location : out.locations) REQUIRE_FALSE(location.lines.empty());
  CHECK(out.functions.size() == 2);
  CHECK(out.functions[0].system_name.starts_with("_ZN5vigil7sampler12profile_test4"));
  CHECK(out.mappings[0].has_functions);
}

TEST_CASE(
    "profile: an address without a symbol among others that have one is named after its place") {
  const auto modules = module_table();
  const Module& main = modules->modules().front();
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  // The procedure linkage table near the segment's start has no symbols.
  FrameAddress stub = FrameAddress::instruction(main.start);
  while ((*symbolizer)->symbolize(stub, *modules).known()) {
    stub = FrameAddress::instruction(stub.raw() + 4);
    REQUIRE(main.contains(stub.raw()));
  }
  StackProfile raw = cpu_profile();
  raw.samples = {sample({in_leaf()}, {1, 10}), sample({stub}, {1, 10})};
  const Profile profile = build_profile(raw, *modules, symbolizer->get());
  CHECK(profile.mappings[0].has_functions);
  CHECK(profile.mappings[0].has_filenames);
  CHECK(profile.mappings[0].has_line_numbers);
  std::size_t named = 0;
  for (const ProfileLocation& location : profile.locations) {
    REQUIRE(location.lines.size() >= 1);
    const std::string& name = profile.functions[index(location.lines[0].function)].name;
    named += name.starts_with("test-profile+0x") ? 1 : 0;
  }
  CHECK(named == 1);
}

TEST_CASE("profile: without a symbolizer there are no functions and no flags") {
  StackProfile in = cpu_profile();
  in.samples = {sample({in_leaf(), in_root()}, {1, 10})};
  const Profile out = build_profile(in, *module_table(), nullptr);
  CHECK(out.functions.empty());
  CHECK_FALSE(out.mappings[0].has_functions);
  CHECK_FALSE(out.mappings[0].has_filenames);
  CHECK_FALSE(out.mappings[0].has_line_numbers);
  CHECK_FALSE(out.mappings[0].has_inline_frames);
  CHECK(module_offset_name(out, out.locations[0]).starts_with("test-profile+0x"));
}

TEST_CASE("profile: loss is in the comments, and stacks without frames keep their weight") {
  StackProfile in = cpu_profile();
  in.counters = {{"samples_lost", 12}, {"threads_lost", 0}};
  in.samples = {sample({in_leaf()}, {1, 10}, {}, StackEnd::kTruncated),
                sample({}, {7, 70}, {}, StackEnd::kNotWalked),
                sample({}, {1, 10}, {}, StackEnd::kBadMemory)};
  const Profile out = build_profile(in, *module_table(), nullptr);
  CHECK(has_comment(out, "vigil: samples_lost=12"));
  CHECK(has_comment(out, "vigil: stacks_truncated=1"));
  CHECK(has_comment(out, "vigil: stacks_not_captured=1"));
  CHECK(has_comment(out, "vigil: stacks_bad_memory=1"));
  CHECK(out.comments.size() == 4);
  REQUIRE(out.samples.size() == 3);
  REQUIRE(out.functions.size() == 2);
  CHECK(out.functions[1].name == "[not captured]");
  for (const ProfileLocation& location : out.locations) CHECK(location.address != 0);
}

TEST_CASE("profile: made-up frames have their names, wherever they are in a stack") {
  StackProfile profile = cpu_profile();
  profile.made_up_frames = {{FrameAddress::made_up(0), {"[table full]"}},
                            {FrameAddress::made_up(1), {"[creator not seen]"}}};
  profile.samples = {sample({FrameAddress::made_up(1)}, {1, 10}),
                     sample({in_leaf(), FrameAddress::made_up(0)}, {2, 20}),
                     sample({FrameAddress::made_up(2)}, {4, 40})};
  const Profile built = build_profile(profile, *module_table(), nullptr);
  const auto name_of = [&built](LocationIndex i) {
    const ProfileLocation& location = built.locations[index(i)];
    return location.lines.empty() ? "" : built.functions[index(location.lines[0].function)].name;
  };
  REQUIRE(built.samples.size() == 3);
  std::map<std::int64_t, std::string> names;
  for (const ProfileSample& s : built.samples) names[s.values[0]] = name_of(s.locations.back());
  CHECK(names[1] == "[creator not seen]");
  CHECK(names[2] == "[table full]");
  CHECK(names[4] == "[no frames]");  // no name: no frame
}

TEST_CASE("profile: a null program counter is no location, the rest of its stack stays") {
  StackProfile in = cpu_profile();
  in.samples = {sample({FrameAddress::instruction(0), in_root()}, {1, 1})};
  const Profile out = build_profile(in, *module_table(), nullptr);
  REQUIRE(out.locations.size() == 1);
  CHECK(out.locations[0].address == in_root().lookup());
}

TEST_CASE("profile: code outside every module has a location without a mapping") {
  StackProfile in = cpu_profile();
  in.samples = {sample({FrameAddress::instruction(0x10000)}, {1, 1})};
  const auto symbolizer = make_symbolizer();
  const Profile out = build_profile(in, *module_table(), symbolizer.get());
  REQUIRE(out.locations.size() == 1);
  CHECK_FALSE(out.locations[0].mapping);
  CHECK(module_offset_name(out, out.locations[0]) == "0x10000");
}

}  // namespace vigil::sampler
