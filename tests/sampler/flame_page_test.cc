// The data inside the flame graph page. How it looks and moves: tests/integration, in Chromium.
#include "sampler/flame_page.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

Profile profile_with(std::vector<std::string> names) {
  Profile profile;
  profile.name = "profile";
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.default_sample_type = "cpu";
  profile.mappings.push_back({});
  profile.mappings[0].path = "/usr/bin/demo";
  for (std::size_t i = 0; i < names.size(); ++i) {
    profile.functions.push_back({names[i], names[i], "", 0});
    ProfileLocation location;
    location.address = 0x1000 + i;
    location.lines = {{static_cast<FunctionIndex>(i), 0}};
    profile.locations.push_back(location);
  }
  return profile;
}

ProfileSample sample_of(std::vector<std::uint32_t> locations, std::vector<std::int64_t> values) {
  ProfileSample sample;
  for (const std::uint32_t i : locations) sample.locations.push_back(static_cast<LocationIndex>(i));
  sample.values = std::move(values);
  return sample;
}

std::size_t count_of(const std::string& where, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = where.find(what); at != std::string::npos; at = where.find(what, at + 1))
    ++count;
  return count;
}

}  // namespace

TEST_CASE("flame data: a tree from the root, by name, in preorder") {
  Profile profile = profile_with({"leaf", "root", "other"});
  profile.samples = {sample_of({0, 1}, {3, 30}), sample_of({2, 1}, {1, 10}),
                     sample_of({1}, {2, 20})};
  const std::string data = flame_data(profile);
  INFO(data);
  CHECK(data.find(R"("name":"profile","program":"demo")") != std::string::npos);
  CHECK(data.find(R"("types":[["samples","count"],["cpu","nanoseconds"]],"default":1)") !=
        std::string::npos);
  CHECK(data.find(R"("strings":["all","","root","leaf","other"])") != std::string::npos);
  CHECK(data.find(R"("nodes":[0,1,1,6,60,2,1,2,6,60,3,1,0,3,30,4,1,0,1,10])") != std::string::npos);
}

TEST_CASE("flame data: an inlined frame is a frame, a location without a name is its place") {
  Profile profile = profile_with({"inlined", "outer"});
  profile.locations[0].lines.push_back({static_cast<FunctionIndex>(1), 0});
  ProfileLocation unknown;
  unknown.address = 0x77;
  profile.locations.push_back(unknown);
  profile.samples = {sample_of({0, 2}, {1, 1})};
  CHECK(flame_data(profile).find(R"("strings":["all","","0x77","outer","inlined"])") !=
        std::string::npos);
}

TEST_CASE("flame data: negative values are nothing, and too narrow frames are counted") {
  Profile profile = profile_with({"gone", "large", "tiny"});
  profile.samples = {sample_of({0}, {-5, -50}), sample_of({1}, {kFlameSmallestPart * 2, 0}),
                     sample_of({2}, {1, 0})};
  const std::string data = flame_data(profile);
  INFO(data);
  CHECK(data.find(R"("left_out":2)") != std::string::npos);
  CHECK(data.find(R"("nodes":[0,1,1,40001,0,3,1,0,40000,0])") != std::string::npos);
}

TEST_CASE("flame page: a hostile name stays text") {
  const std::string hostile = "</script><script>document.title=1</script><!--\"\\\xff\n<img src=x>";
  Profile profile = profile_with({hostile});
  profile.comments = {hostile};
  profile.mappings[0].path = "/bin/" + hostile;
  profile.samples = {sample_of({0}, {1, 1})};
  const std::string page = render_flame_page(profile);
  // Ours: the data's and the script's, in a page that may load nothing.
  CHECK(count_of(page, "<script") == 2);
  CHECK(count_of(page, "</script") == 2);
  CHECK(count_of(page, "<img") == 0);
  CHECK(count_of(page, "<!--") == 0);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK(page.find("http://") == std::string::npos);
  CHECK(page.find("https://") == std::string::npos);
}

}  // namespace vigil::sampler
