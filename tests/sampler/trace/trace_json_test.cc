// What is made of a trace's events.
#include "sampler/trace/trace_json.h"

#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/trace_rules.h"

namespace vigil::sampler {
namespace {

using nlohmann::json;
using test::trace_violations;

// One second, from 5 s on; times of events are microseconds since it began.
constexpr std::int64_t kBegan = 5'000'000'000;
constexpr std::int64_t us(std::int64_t time) { return kBegan + time * 1000; }

Trace trace_of(std::vector<TraceEvent> events) {
  Trace trace;
  trace.began = MonotonicTime(Duration(kBegan));
  trace.ended = trace.began + std::chrono::seconds(1);
  trace.events = std::move(events);
  return trace;
}

TraceEvent request(std::uint64_t connection, std::uint64_t number, std::int64_t from) {
  return {.kind = TraceKind::kRequest,
          .status = 200,
          .thread = 7,
          .begin_ns = us(from),
          .end_ns = us(from + 100),
          .id = trace_request_id(connection, number),
          .name = "GET /search",
          .connection = connection,
          .task = 17,
          .head_ns = us(from + 10),
          .handler_ns = us(from + 10),
          .handled_ns = us(from + 90),
          .method = {'G', 'E', 'T'}};
}

json rendered(const Trace& trace, TraceRenderOptions options = {}) {
  const json parsed = json::parse(render_trace(trace, options));
  CHECK(trace_violations(parsed) == std::vector<std::string>{});
  return parsed;
}

std::vector<json> of_phase(const json& trace, std::string_view phase) {
  std::vector<json> found;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == phase) found.push_back(event);
  }
  return found;
}

// "name from-to" of each phase of a request, in the order of the events.
std::vector<std::string> phases_of(const json& trace, std::uint64_t id) {
  const std::string wanted = "0x" + [&] {
    char text[20];
    std::snprintf(text, sizeof(text), "%llx", static_cast<unsigned long long>(id));
    return std::string(text);
  }();
  std::vector<std::string> found;
  for (const json& event : trace["traceEvents"]) {
    if (!event.contains("id") || event["id"] != wanted || event["cat"] != "request") continue;
    const std::string at = std::to_string(event["ts"].get<std::int64_t>());
    if (event["ph"] == "b") {
      found.push_back(event["name"].get<std::string>() + " " + at);
    } else {
      for (auto open = found.rbegin(); open != found.rend(); ++open) {
        if (!open->starts_with(event["name"].get<std::string>()) ||
            open->find('-') != std::string::npos) {
          continue;
        }
        *open += "-" + at;
        break;
      }
    }
  }
  return found;
}

TEST_CASE("an empty trace is one that readers open") {
  const json trace = rendered(trace_of({}));
  CHECK(trace["otherData"]["events"] == 0);
  CHECK(trace["otherData"]["length_ms"] == 1000.0);
}

TEST_CASE("a request's phases come in order, inside of an event with its route") {
  TraceEvent first = request(3, 1, 50);
  first.begin_ns = us(20);
  first.heard_ns = us(50);
  TraceEvent queued = request(3, 2, 200);
  queued.queue_ns = us(205);
  const json trace = rendered(trace_of({first, queued}));
  CHECK(phases_of(trace, first.id) == std::vector<std::string>{"GET /search 20-150", "accept 20-50",
                                                               "head 50-60", "handler 60-140",
                                                               "write 140-150"});
  CHECK(phases_of(trace, queued.id) ==
        std::vector<std::string>{"GET /search 200-300", "head 200-205", "queue 205-210",
                                 "handler 210-290", "write 290-300"});
  const json outer = of_phase(trace, "b").front();
  CHECK(outer["args"] == json({{"status", 200},
                               {"method", "GET"},
                               {"connection", 3},
                               {"request_of_connection", 1},
                               {"task", "17"},
                               {"response", "sent"},
                               {"total_ms", 0.13}}));
  REQUIRE(of_phase(trace, "X").size() == 2);
  const json slice = of_phase(trace, "X").front();
  CHECK(slice["name"] == "request");
  CHECK(slice["tid"] == 7);
  CHECK(slice["ts"] == 60.0);
  CHECK(slice["dur"] == 90.0);
}

TEST_CASE("a request that got no handler has none, and one without a route says so") {
  TraceEvent refused = request(3, 2, 0);
  refused.name = {};
  refused.status = 503;
  refused.handler_ns = refused.handled_ns = 0;
  refused.queue_ns = us(4);
  const json trace = rendered(trace_of({refused}));
  CHECK(phases_of(trace, refused.id) ==
        std::vector<std::string>{"GET (no route) 0-100", "head 0-4", "queue 4-10", "write 10-100"});
}

TEST_CASE("a response that waited for its reader is written until it was out, or the trace's end") {
  TraceEvent slow = request(3, 1, 0);
  slow.response = TraceResponse::kWaits;
  TraceEvent never = request(4, 1, 0);
  never.response = TraceResponse::kWaits;
  const json trace = rendered(
      trace_of({slow, never, {.kind = TraceKind::kFlushed, .end_ns = us(5000), .id = slow.id}}));
  CHECK(phases_of(trace, slow.id).back() == "write 90-5000");
  CHECK(phases_of(trace, never.id).back() == "write 90-1000000");
  CHECK(of_phase(trace, "b")[0]["args"].contains("unfinished") == false);
  CHECK(trace.dump().find("\"unfinished\"") != std::string::npos);
}

TEST_CASE(
    "a request that waits for a slot when the trace ends is in it, once it is answered only that") {
  const TraceEvent answered = request(3, 1, 500);
  const json trace = rendered(
      trace_of({{.kind = TraceKind::kQueued, .begin_ns = us(9), .id = trace_request_id(8, 2)},
                {.kind = TraceKind::kQueued, .begin_ns = us(505), .id = answered.id},
                answered}));
  CHECK(phases_of(trace, trace_request_id(8, 2)) ==
        std::vector<std::string>{"waits for a slot 9-1000000", "queue 9-1000000"});
  CHECK(phases_of(trace, answered.id).size() == 4);
}

TEST_CASE("an arrow leads from an accept to the connection's first request, if both are there") {
  const TraceEvent accept{
      .kind = TraceKind::kAccept, .thread = 6, .begin_ns = us(1), .end_ns = us(2), .connection = 3};
  const json trace =
      rendered(trace_of({accept, request(3, 1, 50), request(3, 2, 200), request(4, 1, 300)}));
  REQUIRE(of_phase(trace, "s").size() == 1);
  REQUIRE(of_phase(trace, "f").size() == 1);
  CHECK(of_phase(trace, "s")[0]["tid"] == 6);
  CHECK(of_phase(trace, "f")[0]["tid"] == 7);
  CHECK(of_phase(trace, "f")[0]["ts"] == 60.0);
  CHECK(of_phase(trace, "f")[0]["id"] == of_phase(trace, "s")[0]["id"]);
}

TEST_CASE("what began before the trace begins with it, and what is open ends with it") {
  Trace trace =
      trace_of({{.kind = TraceKind::kTask,
                 .thread = 7,
                 .begin_ns = us(-2'000'000),
                 .end_ns = us(30),
                 .id = 1,
                 .name = "GET /slow"},
                {.kind = TraceKind::kSpanBegin, .thread = 8, .begin_ns = us(40), .name = "db"},
                {.kind = TraceKind::kSpanBegin, .thread = 8, .begin_ns = us(50), .name = "row"},
                {.kind = TraceKind::kSpan,
                 .thread = 8,
                 .begin_ns = us(50),
                 .end_ns = us(60),
                 .name = "row"}});
  trace.open_tasks.push_back({9, 5, "GET /stuck", trace.began - std::chrono::hours(1)});
  const json parsed = rendered(trace);
  std::map<std::string, json> slices;
  for (const json& event : of_phase(parsed, "X")) slices[event["name"]] = event;
  REQUIRE(slices.size() == 4);
  CHECK(slices["GET /slow"]["ts"] == 0.0);
  CHECK(slices["GET /slow"]["dur"] == 30.0);
  CHECK(slices["GET /slow"]["args"]["began_before_trace_ms"] == 2000.0);
  CHECK(slices["GET /stuck"]["dur"] == 1e6);
  CHECK(slices["GET /stuck"]["args"]["unfinished"] == "when the trace ended");
  CHECK(slices["db"]["dur"] == 1e6 - 40);
  CHECK(slices["db"]["args"].contains("unfinished"));
  CHECK(slices["row"]["dur"] == 10.0);
  CHECK_FALSE(slices["row"]["args"].contains("unfinished"));
}

TEST_CASE("slices of one thread nest whatever the events say") {
  const auto task = [](std::int64_t from, std::int64_t to) {
    return TraceEvent{.kind = TraceKind::kTask,
                      .thread = 7,
                      .begin_ns = us(from),
                      .end_ns = us(to),
                      .name = "task"};
  };
  // The second and third reach over the end of the first; what is inside of the third moves with it.
  const json trace =
      rendered(trace_of({task(0, 100), task(50, 150), task(60, 200), task(70, 80), task(95, 120)}));
  std::vector<std::pair<double, double>> seen;
  for (const json& event : of_phase(trace, "X")) seen.emplace_back(event["ts"], event["dur"]);
  CHECK(seen == std::vector<std::pair<double, double>>{
                    {0, 100}, {70, 10}, {100, 100}, {100, 50}, {100, 20}});
}

TEST_CASE("names are escaped, lock waits say where, threads and processes have names") {
  Trace trace = trace_of({{.kind = TraceKind::kSpan,
                           .thread = 7,
                           .begin_ns = us(1),
                           .end_ns = us(2),
                           .name = "say \"hi\"\n\xff\\"},
                          {.kind = TraceKind::kLockWait,
                           .thread = 7,
                           .begin_ns = us(3),
                           .end_ns = us(4),
                           .name = "mutex",
                           .caller = 0x1234}});
  trace.thread_names = {{7, "a\"b"}};
  trace.run_slices.push_back(
      {7, RunState::kDisk, trace.began, trace.began + std::chrono::milliseconds(20)});
  TraceRenderOptions options;
  options.pid = 42;
  options.process_name = "srv\"";
  options.function_at = [](std::uintptr_t address) {
    return address == 0x1234 ? std::string("demo::f<\"x\">()") : std::string();
  };
  const json parsed = rendered(trace, options);
  const std::vector<json> slices = of_phase(parsed, "X");
  REQUIRE(slices.size() == 3);
  CHECK(slices[0]["cat"] == "run state");
  CHECK(slices[0]["name"] == "disk");
  CHECK(slices[0]["pid"] == kRunStatesPid);
  CHECK(slices[0]["dur"] == 20'000.0);
  CHECK(slices[1]["name"] == "say \"hi\"\n\xEF\xBF\xBD\\");
  CHECK(slices[1]["pid"] == 42);
  CHECK(slices[2]["name"] == "mutex");
  CHECK(slices[2]["args"]["in"] == "demo::f<\"x\">()");
  std::vector<std::string> names;
  for (const json& event : of_phase(parsed, "M")) {
    if (event["args"].contains("name")) names.push_back(event["args"]["name"]);
  }
  CHECK(names == std::vector<std::string>{"srv\"", "a\"b", "srv\": run states", "a\"b"});
}

TEST_CASE("a trace that is too long leaves whole events out, the latest, and says so") {
  std::vector<TraceEvent> events;
  for (int i = 0; i < 1000; ++i)
    events.push_back(request(3, static_cast<std::uint64_t>(i + 1), i * 200));
  Trace trace = trace_of(events);
  const std::size_t whole = render_trace(trace, {}).size();
  TraceRenderOptions options;
  options.bytes_max = whole / 2;
  const std::string body = render_trace(trace, options);
  CHECK(body.size() >= options.bytes_max);
  CHECK(body.size() < options.bytes_max + 4096);
  const json parsed = rendered(trace, options);
  const std::vector<json> said = of_phase(parsed, "i");
  REQUIRE(said.size() == 1);
  const std::int64_t left_out = said[0]["args"]["events"];
  CHECK(left_out == parsed["otherData"]["events_left_out"]);
  // Two a request are drawn: what it was, and its slice on its thread.
  const auto outer = static_cast<std::int64_t>(of_phase(parsed, "X").size());
  CHECK(left_out > 900);
  CHECK(outer + left_out >= 1000);
  // The last that is in it is not later than the first that is not.
  CHECK(of_phase(parsed, "X").back()["ts"].get<double>() <= said[0]["ts"].get<double>());
  CHECK(phases_of(parsed, trace_request_id(3, 1)).size() == 4);
  options.bytes_max = whole + 1;
  CHECK(of_phase(rendered(trace, options), "i").empty());
}

TEST_CASE("what was lost on the way is counted and shown") {
  Trace trace = trace_of({request(3, 1, 0)});
  trace.losses = {.overwritten = 3,
                  .dropped = 4,
                  .dropped_from = trace.began + std::chrono::microseconds(77),
                  .slices_dropped = 5,
                  .run_states_absent = "hidden"};
  const json parsed = rendered(trace);
  CHECK(parsed["otherData"]["events_overwritten"] == 3);
  CHECK(parsed["otherData"]["events_dropped"] == 4);
  CHECK(parsed["otherData"]["run_states_dropped"] == 5);
  CHECK(parsed["otherData"]["run_states_absent"] == "hidden");
  const std::vector<json> said = of_phase(parsed, "i");
  REQUIRE(said.size() == 3);
  CHECK(said[1]["ts"] == 77.0);
  CHECK(said[1]["args"]["events"] == 4);
}

TEST_CASE("the rules find what is wrong") {
  const auto violates = [](const std::string& events) {
    const std::string names =
        R"({"ph":"M","pid":1,"name":"process_name","args":{}},
           {"ph":"M","pid":1,"tid":2,"name":"thread_name","args":{}})";
    const json trace =
        json::parse("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[" + names + "," + events + "]}");
    return !trace_violations(trace).empty();
  };
  const std::string x = R"({"ph":"X","pid":1,"tid":2,"name":"n","ts":10,"dur":10})";
  CHECK_FALSE(violates(x));
  CHECK(violates(x + "," + R"({"ph":"X","pid":1,"tid":2,"name":"n","ts":9,"dur":1})"));
  CHECK(violates(x + "," + R"({"ph":"X","pid":1,"tid":2,"name":"n","ts":11,"dur":10})"));
  CHECK(violates(R"({"ph":"X","pid":1,"tid":2,"name":"n","ts":10})"));
  CHECK(violates(R"({"ph":"X","pid":1,"tid":3,"name":"n","ts":10,"dur":1})"));
  CHECK(violates(R"({"ph":"X","pid":1,"tid":2,"name":"n","ts":-1,"dur":1})"));
  const std::string b = R"({"ph":"b","pid":1,"tid":2,"cat":"c","id":"0x1","name":"n","ts":10})";
  const std::string e = R"({"ph":"e","pid":1,"tid":2,"cat":"c","id":"0x1","name":"n","ts":11})";
  CHECK_FALSE(violates(b + "," + e));
  CHECK(violates(b));
  CHECK(violates(e));
  CHECK(violates(R"({"ph":"f","pid":1,"tid":2,"id":"0x1","name":"n","ts":10})"));
  CHECK(violates(R"({"ph":"Q","pid":1,"tid":2,"name":"n","ts":10})"));
  CHECK_FALSE(trace_violations(json::array()).empty());
}

}  // namespace
}  // namespace vigil::sampler
