// The document of /debug/leakcheck: what is written can be read, and what is none is refused.

#include "endpoints/leakcheck.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

leakwatch::ProcessSnapshot example() {
  leakwatch::ProcessSnapshot snapshot;
  snapshot.pid = 42;
  snapshot.things = {{.kind = "thread",
                      .id = 7,
                      .birth = "123",
                      .name = "a \"name\"",
                      .thread = 7,
                      .functions = {"f", "g"},
                      .stack = "[sleep]\nf(...)\n",
                      .created_functions = {"h"},
                      .created = "h(...)\n"}};
  snapshot.heap = {{.functions = {"f"}, .stack = "s", .bytes = 1'000'000'000'000, .objects = 3}};
  snapshot.stuck = {{.number = 1, .name = "GET /x", .what = "stuck for 5s", .functions = {"w"}}};
  snapshot.missing = {"timers: none"};
  return snapshot;
}

TEST_CASE("a snapshot survives its JSON") {
  const std::string text = snapshot_to_json(example());
  const auto read = parse_snapshot_json(text);
  REQUIRE(read);
  CHECK(snapshot_to_json(*read) == text);
  CHECK(read->things.at(0).name == "a \"name\"");
  CHECK(read->heap->at(0).bytes == 1'000'000'000'000);
  leakwatch::ProcessSnapshot without = example();
  without.heap.reset();
  CHECK_FALSE(parse_snapshot_json(snapshot_to_json(without))->heap.has_value());
}

TEST_CASE("what is no snapshot is refused with a sentence, cut anywhere too") {
  const std::string text = snapshot_to_json(example());
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const auto read = parse_snapshot_json(text.substr(0, i));
    if (read) FAIL_CHECK("read from the first " << i << " bytes");
  }
  CHECK_FALSE(parse_snapshot_json("{}"));
  CHECK_FALSE(parse_snapshot_json("[1]"));
  CHECK_FALSE(parse_snapshot_json("\"text\""));
  std::string other = text;
  other.replace(other.find("\"leakcheck\": 1"), 14, "\"leakcheck\": 2");
  REQUIRE_FALSE(parse_snapshot_json(other));
  CHECK(parse_snapshot_json(other).error().message() ==
        "it is of another version than this program");
}

TEST_CASE("bytes that are not UTF-8 do not stop the page") {
  leakwatch::ProcessSnapshot snapshot = example();
  snapshot.things[0].name = "\xff\xfe";
  CHECK(parse_snapshot_json(snapshot_to_json(snapshot)));
}

}  // namespace
}  // namespace vigil::endpoints
