#include "sampler/profile_text.h"

#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/pattern.h"

namespace vigil::sampler {
namespace {

Profile task_profile() {
  Profile p;
  p.name = "goroutine";
  p.sample_types = {{"goroutine", "count"}};
  p.default_sample_type = "goroutine";
  p.period = 1;
  p.mappings = {{.start = 0x401000,
                 .limit = 0x500000,
                 .file_offset = 0x1000,
                 .path = "/bin/demo",
                 .build_id = "",
                 .load_bias = 0x400000}};
  p.functions = {{"demo::wait", "_Z", "/src/a.cc", 1}, {"demo::run", "_Z", "", 0}};
  p.locations = {{MappingIndex{0}, 0x401100, 0x20, {{FunctionIndex{0}, 4}, {FunctionIndex{1}, 0}}},
                 {MappingIndex{0}, 0x401200, 0, {}}};
  p.samples = {{{LocationIndex{1}}, {2}, {}},
               {{LocationIndex{0}, LocationIndex{1}}, {200}, {{"route", "GET \"/\"", 0, ""}}}};
  p.comments = {"vigil: threads_without_answer=1"};
  return p;
}

Profile heap_profile() {
  Profile p = task_profile();
  p.name = "heap";
  p.sample_types = {{"inuse_objects", "count"}, {"inuse_space", "bytes"}};
  p.default_sample_type = "inuse_space";
  p.period = 512 * 1024;
  // 3 sampled objects of 1,000 bytes, each of which stood for 1 / (1 - e^(-1000/524288)) = 524.788.
  p.samples = {{{LocationIndex{0}}, {1574, 1'574'364}, {{"bytes", "", 1000, "bytes"}}}};
  return p;
}

// Go's own rule for lines of such a text: a row, or nothing that it reads.
bool go_can_read(const std::string& text, const std::string& row) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);  // the header
  while (std::getline(lines, line)) {
    if (!line.empty() && line[0] != '#' && !test::matches_whole(line, row)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("debug text: Go's shape, the largest count first") {
  const std::string text = render_debug_text(task_profile());
  CHECK(text ==
        "goroutine profile: total 202\n"
        "200 @ 0x401100 0x401200\n"
        "# labels: {\"route\":\"GET \\\"/\\\"\"}\n"
        "#\t0x401100\tdemo::wait+0x20\t/src/a.cc:4\n"
        "#\t0x401100\tdemo::run+0x20\n"
        "#\t0x401200\tdemo+0x1200\n"
        "\n"
        "2 @ 0x401200\n"
        "#\t0x401200\tdemo+0x1200\n"
        "\n"
        "# vigil: threads_without_answer=1\n");
  CHECK(go_can_read(text, "[0-9]+ @( 0x[0-9a-f]+)+"));
}

TEST_CASE("debug text: a name cannot end its line") {
  Profile p = task_profile();
  p.functions[0].name = "evil\n7 @ 0x1";
  CHECK(go_can_read(render_debug_text(p), "[0-9]+ @( 0x401[0-9a-f]+)+"));
}

TEST_CASE("debug text: heap has four columns of sampled objects") {
  const std::string text = render_debug_text(heap_profile());
  CHECK(
      text.starts_with("heap profile: 3: 3000 [3: 3000] @ heap/1048576\n"
                       "3: 3000 [3: 3000] @ 0x401100\n"
                       "# labels: {\"bytes\":\"1000\"}\n"));
  CHECK(go_can_read(text, R"([0-9]+: [0-9]+ \[[0-9]+: [0-9]+\] @( 0x[0-9a-f]+)+)"));
}

TEST_CASE("debug text: heap with cumulative columns of its own") {
  Profile p = heap_profile();
  p.sample_types = {{"alloc_objects", "count"},
                    {"alloc_space", "bytes"},
                    {"inuse_objects", "count"},
                    {"inuse_space", "bytes"}};
  p.period = 1;  // everything was sampled: nothing to scale
  p.samples[0].values = {5, 500, 2, 200};
  CHECK(render_debug_text(p).starts_with("heap profile: 2: 200 [5: 500] @ heap/2\n"));
}

TEST_CASE("debug text: mutex and block have Go's headers, the longest delay first") {
  Profile p = task_profile();
  p.name = "mutex";
  p.sample_types = {{"contentions", "count"}, {"delay", "nanoseconds"}};
  p.default_sample_type = "delay";
  p.samples = {{{LocationIndex{0}}, {900, 1'000}, {}},
               {{LocationIndex{1}, LocationIndex{0}}, {8, 800'000'000}, {}}};
  const std::string rows =
      "800000000 8 @ 0x401200 0x401100\n"
      "#\t0x401200\tdemo+0x1200\n"
      "#\t0x401100\tdemo::wait+0x20\t/src/a.cc:4\n"
      "#\t0x401100\tdemo::run+0x20\n"
      "\n"
      "1000 900 @ 0x401100\n"
      "#\t0x401100\tdemo::wait+0x20\t/src/a.cc:4\n"
      "#\t0x401100\tdemo::run+0x20\n"
      "\n"
      "# vigil: threads_without_answer=1\n";
  CHECK(render_debug_text(p) == "--- mutex:\ncycles/second=1000000000\nsampling period=1\n" + rows);
  p.name = "block";
  CHECK(render_debug_text(p) == "--- contention:\ncycles/second=1000000000\n" + rows);
}

TEST_CASE("folded: outermost first, inlined frames are frames, equal stacks are one line") {
  Profile p = task_profile();
  p.samples.push_back({{LocationIndex{0}, LocationIndex{1}}, {5}, {}});
  CHECK(render_folded(p, 0) ==
        "demo+0x1200 2\n"
        "demo+0x1200;demo::run;demo::wait 205\n"
        "# vigil: threads_without_answer=1\n");
}

TEST_CASE("folded: separators in names are replaced") {
  Profile p = task_profile();
  p.functions[0].name = "a;b\nc";
  CHECK(render_folded(p, 0).find("demo+0x1200;demo::run;a:b c 200\n") != std::string::npos);
}

TEST_CASE("folded: the column, or the default one") {
  const Profile p = heap_profile();
  CHECK(default_column(p) == 1);
  CHECK(render_folded(p, 0).starts_with("demo::run;demo::wait 1574\n"));
  CHECK(render_folded(p, 1).starts_with("demo::run;demo::wait 1574364\n"));
  CHECK(render_folded(p, 99) == render_folded(p, 1));
}

TEST_CASE("texts of an empty profile") {
  Profile p = task_profile();
  p.samples.clear();
  p.comments.clear();
  CHECK(render_debug_text(p) == "goroutine profile: total 0\n");
  CHECK(render_folded(p, 0).empty());
}

}  // namespace vigil::sampler
