#include "agent/command/task_table.h"

#include "tests/support/catch.h"

namespace vigil::command {
namespace {

using namespace std::chrono_literals;

TopView view_of(std::vector<endpoints::TaskRow> tasks) {
  TopView view;
  view.address = "127.0.0.1:6060";
  view.tasks = {.tasks = std::move(tasks), .started = 100, .untracked = 0};
  view.stuck.threshold = 5s;
  return view;
}

std::vector<std::string> plain(const TopView& view, TableSize size = {.columns = 100, .rows = 24}) {
  return task_table(view, size, TableStyle::kPlain);
}

// The words of a line.
std::vector<std::string> words(const std::string& line) {
  std::vector<std::string> found;
  std::size_t at = 0;
  while ((at = line.find_first_not_of(' ', at)) != std::string::npos) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    found.push_back(line.substr(at, end - at));
    at = end;
  }
  return found;
}

using Words = std::vector<std::string>;

TEST_CASE("tasks are counted by route and age") {
  const auto lines = plain(view_of({{"search", 9'999us},
                                    {"search", 10ms},
                                    {"search", 99ms},
                                    {"search", 100ms},
                                    {"search", 1s},
                                    {"search", 10s},
                                    {"search", 60s}}));
  REQUIRE(lines.size() == 4);
  CHECK(words(lines[2]) ==
        Words{"ROUTE", "LIVE", "STUCK", "OLDEST", "<10ms", "<100ms", "<1s", "<10s", ">=10s"});
  CHECK(words(lines[3]) == Words{"search", "7", ".", "1m", "1", "2", "1", "1", "2"});
}

TEST_CASE("stuck routes come first, then the oldest") {
  TopView view = view_of({{"young", 1ms}, {"old", 30s}, {"stuck", 6s}});
  view.stuck.tasks = 1;
  view.stuck.by_label["stuck"] = 1;
  const auto lines = plain(view);
  REQUIRE(lines.size() == 6);
  CHECK(words(lines[3])[0] == "stuck");
  CHECK(words(lines[3])[2] == "1");
  CHECK(words(lines[4])[0] == "old");
  CHECK(words(lines[5])[0] == "young");
  CHECK(lines[0].find("3 live") != std::string::npos);
  CHECK(lines[0].find("1 stuck (over 5s)") != std::string::npos);
  CHECK(task_table(view, {}, TableStyle::kTerminal)[3].find("\033[31m") == 0);
}

TEST_CASE("the first line has the rate, what was not tracked, and a watchdog that is off") {
  TopView view = view_of({});
  CHECK(plain(view)[0] == "127.0.0.1:6060: 0 live, 0 stuck (over 5s)");
  CHECK(plain(view).back() == "Nothing runs.");
  view.started_per_second = 339.6;
  view.tasks.untracked = 4;
  view.stuck.threshold = Duration::zero();
  CHECK(plain(view)[0] == "127.0.0.1:6060: 0 live, 340 started/s, 4 untracked, watchdog off");
}

TEST_CASE("a program without marked tasks is told what there is instead") {
  TopView view = view_of({});
  view.tasks.started = 0;
  CHECK(plain(view).back().find("vigil dump") != std::string::npos);
}

TEST_CASE("no more lines than the screen has, and what has no place is counted") {
  std::vector<endpoints::TaskRow> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back({"route" + std::to_string(i), 1s});
  CHECK(plain(view_of(tasks), {.columns = 100, .rows = 13}).size() == 13);
  const auto cut = plain(view_of(tasks), {.columns = 100, .rows = 12});
  REQUIRE(cut.size() == 12);
  CHECK(cut.back() == "and 2 routes more");
  for (std::size_t rows = 1; rows < 5; ++rows) {
    CHECK(plain(view_of(tasks), {.columns = 100, .rows = rows}).size() <= rows);
  }
}

TEST_CASE("no line is wider than the screen, by characters and not by bytes") {
  const std::string wide(300, 'x');
  for (const std::size_t columns : {1U, 20U, 80U, 200U}) {
    for (const std::string& line : plain(view_of({{wide, 1s}}), {.columns = columns, .rows = 24})) {
      CHECK(line.size() <= columns);
    }
  }
  std::string umlauts;
  for (int i = 0; i < 20; ++i) umlauts += "ü";
  const auto lines = plain(view_of({{umlauts, 1s}, {"plain", 1s}}), {.columns = 100, .rows = 24});
  CHECK(lines[4].size() - 20 == lines[3].size());
}

TEST_CASE("on a terminal of 80 columns nothing is cut but long routes") {
  TopView view = view_of({{"GET /orders/{id}/positions", 123456789ms}, {"a", 1ms}});
  view.stuck.tasks = 100;
  view.stuck.threshold = 500ms;
  view.started_per_second = 123456;
  const auto lines = plain(view, {.columns = 80, .rows = 24});
  CHECK(lines[0] == "127.0.0.1:6060: 2 live, 123456 started/s, 100 stuck (over 500ms)");
  CHECK(words(lines[2]).back() == ">=10s");
  CHECK(words(lines[3]) ==
        Words{"GET", "/orders/{id}/positio", "1", ".", "34h17m", ".", ".", ".", ".", "1"});
}

TEST_CASE("a route cannot speak to the terminal") {
  const auto lines =
      plain(view_of({{"a\033[2Jb\nc\xC2\x9B"
                      "d\xFF"
                      "e",
                      1s}}));
  REQUIRE(lines.size() == 4);
  CHECK(words(lines[3])[0] ==
        "a?[2Jb?c?d\xEF\xBF\xBD"
        "e");
}

TEST_CASE("what tasks and watchdog say is read back, and what is something else is refused") {
  const auto tasks = endpoints::parse_tasks_json(
      R"({"live": 1, "started": 7, "untracked": 2, "tasks": [{"id": 7, "label": "GET /a", "age_ms": 1500}]})");
  REQUIRE(tasks);
  CHECK(tasks->started == 7);
  CHECK(tasks->untracked == 2);
  REQUIRE(tasks->tasks.size() == 1);
  CHECK(tasks->tasks[0].label == "GET /a");
  CHECK(tasks->tasks[0].age == 1500ms);

  const auto stuck =
      endpoints::parse_leakwatch_json(R"({"threshold_ms": 5000, "stuck_now": 3, "reports": [
      {"state": "stuck", "stuck_now": 2, "task": {"label": "GET /a"}},
      {"state": "stuck", "stuck_now": 1, "task": {"label": "GET /a"}},
      {"state": "recovered", "stuck_now": 0, "task": {"label": "GET /b"}}]})");
  REQUIRE(stuck);
  CHECK(stuck->threshold == 5s);
  CHECK(stuck->tasks == 3);
  CHECK(stuck->by_label == std::map<std::string, std::uint64_t>{{"GET /a", 3}});

  for (const char* text : {"", "[]", "{\"started\": \"x\"}", "<html>"}) {
    CHECK_FALSE(endpoints::parse_tasks_json(text));
    CHECK_FALSE(endpoints::parse_leakwatch_json(text));
  }
}

}  // namespace
}  // namespace vigil::command
