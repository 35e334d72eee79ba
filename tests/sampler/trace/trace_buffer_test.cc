// The rings of a trace, and the hooks' switch.
#include "sampler/trace/trace_buffer.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_id.h"
#include "sampler/trace_span.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

// A ring with its memory.
struct OwnRing {
  explicit OwnRing(std::size_t slots)
      : memory(new TraceSlot[slots]{}), ring({memory.get(), slots}) {}
  std::unique_ptr<TraceSlot[]> memory;
  TraceRing ring;

  void emit(std::int64_t number) { ring.emit({.begin_ns = number, .end_ns = number + 1}); }
};

std::vector<std::int64_t> drain(TraceReader& reader) {
  std::vector<std::int64_t> seen;
  reader.drain([&](const TraceEvent& event) { seen.push_back(event.begin_ns); });
  return seen;
}

TEST_CASE("a ring's reader gets every field of what is emitted after it was made, in order") {
  OwnRing own(8);
  own.emit(1);
  TraceReader reader({&own.ring, 1});
  CHECK(drain(reader).empty());
  const TraceEvent whole{.kind = TraceKind::kRequest,
                         .response = TraceResponse::kHijacked,
                         .status = 404,
                         .thread = 7,
                         .begin_ns = 1,
                         .end_ns = 2,
                         .id = 3,
                         .name = "GET /",
                         .connection = 4,
                         .caller = 5,
                         .heard_ns = 6,
                         .head_ns = 8,
                         .queue_ns = 9,
                         .handler_ns = 10,
                         .handled_ns = 11,
                         .method = {'G', 'E', 'T'}};
  own.ring.emit(whole);
  own.emit(20);
  std::vector<TraceEvent> seen;
  reader.drain([&](const TraceEvent& event) { seen.push_back(event); });
  REQUIRE(seen.size() == 2);
  const TraceEvent& got = seen[0];
  CHECK(got.kind == whole.kind);
  CHECK(got.response == whole.response);
  CHECK(got.status == 404);
  CHECK(got.thread == 7);
  CHECK(got.name == "GET /");
  CHECK(std::vector<std::int64_t>{got.begin_ns, got.end_ns, got.heard_ns, got.head_ns, got.queue_ns,
                                  got.handler_ns, got.handled_ns} ==
        std::vector<std::int64_t>{1, 2, 6, 8, 9, 10, 11});
  CHECK(got.id == 3);
  CHECK(got.connection == 4);
  CHECK(got.caller == 5);
  CHECK(got.method == whole.method);
  CHECK(seen[1].begin_ns == 20);
  CHECK(reader.lost() == 0);
  CHECK(drain(reader).empty());
}

TEST_CASE("a full ring overwrites the oldest, and each reader counts what it did not get") {
  OwnRing own(8);
  TraceReader late({&own.ring, 1});
  TraceReader prompt({&own.ring, 1});
  for (int i = 0; i < 8; ++i) own.emit(i);
  CHECK(drain(prompt).size() == 8);  // as many as fit: none lost
  CHECK(prompt.lost() == 0);
  own.emit(8);  // one more
  CHECK(drain(prompt) == std::vector<std::int64_t>{8});
  CHECK(prompt.lost() == 0);
  CHECK(drain(late) == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(late.lost() == 1);
}

TEST_CASE(
    "an event under the pen is waited for, skipped at the end, and does not hold up a ring for "
    "ever") {
  OwnRing own(8);
  TraceReader waiting({&own.ring, 1});
  TraceReader last({&own.ring, 1});
  TraceReader full({&own.ring, 1});
  own.emit(0);
  own.emit(1);
  own.emit(2);
  own.memory[1].sequence.store(2 * 1 + 1);  // as if its writer had not finished
  CHECK(drain(waiting) == std::vector<std::int64_t>{0});
  own.memory[1].sequence.store(2 * 1 + 2);
  CHECK(drain(waiting) == std::vector<std::int64_t>{1, 2});
  CHECK(waiting.lost() == 0);

  own.memory[1].sequence.store(2 * 1 + 1);
  std::vector<std::int64_t> seen;
  last.drain([&](const TraceEvent& event) { seen.push_back(event.begin_ns); },
             TraceReader::Unfinished::kSkip);
  CHECK(seen == std::vector<std::int64_t>{0, 2});
  CHECK(last.lost() == 1);

  CHECK(drain(full) == std::vector<std::int64_t>{0});
  for (int i = 3; i < 6; ++i) own.emit(i);
  CHECK(drain(full) == std::vector<std::int64_t>{2, 3, 4, 5});  // more than half is behind it
  CHECK(full.lost() == 1);

  // A lap later the slot is still under the pen: that event is lost, the ring goes on.
  for (int i = 6; i < 12; ++i) own.emit(i);
  CHECK(drain(full) == std::vector<std::int64_t>{6, 7, 8});
  for (int i = 12; i < 15; ++i) own.emit(i);
  CHECK(drain(full) == std::vector<std::int64_t>{10, 11, 12, 13, 14});
  CHECK(full.lost() == 2);
}

TEST_CASE(
    "writers of one ring and its readers: no event is torn, each is read or counted as lost") {
  constexpr int kWriters = 3;
  constexpr std::int64_t kEvents = 20'000;
  OwnRing own(64);
  TraceReader reader({&own.ring, 1});
  std::atomic<int> running{kWriters};
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      for (std::int64_t i = 1; i <= kEvents; ++i) {
        own.ring.emit(
            {.thread = w, .begin_ns = i, .end_ns = ~i, .id = static_cast<std::uint64_t>(i)});
      }
      running.fetch_sub(1);
    });
  }
  std::uint64_t got = 0;
  std::uint64_t torn = 0;
  std::uint64_t disordered = 0;
  std::map<pid_t, std::int64_t> last;
  const auto look = [&](const TraceEvent& event) {
    ++got;
    if (event.end_ns != ~event.begin_ns || event.id != static_cast<std::uint64_t>(event.begin_ns))
      ++torn;
    if (event.begin_ns <= last[event.thread]) ++disordered;
    last[event.thread] = event.begin_ns;
  };
  while (running.load() > 0) reader.drain(look);
  for (std::thread& writer : writers) writer.join();
  reader.drain(look, TraceReader::Unfinished::kSkip);
  CHECK(torn == 0);
  CHECK(disordered == 0);
  CHECK(got > 0);
  CHECK(got + reader.lost() == kWriters * kEvents);
}

// Each event that the process's rings get, in order.
std::vector<TraceEvent> events_of(const trace::Recording& recording, TraceReader& reader) {
  (void)recording;
  std::vector<TraceEvent> events;
  reader.drain([&](const TraceEvent& event) { events.push_back(event); });
  return events;
}

TEST_CASE("spans are recorded while somebody records, each recording from its own beginning") {
  CHECK_FALSE(trace::recording());
  { const TraceSpan unseen("nobody looks"); }
  std::optional<TraceSpan> straddles(std::in_place, TraceName("began before"));
  auto first = trace::Recording::start();
  REQUIRE(first);
  TraceReader reader(first->rings());
  CHECK(trace::recording());
  straddles.reset();
  {
    const TraceSpan outer("db.query");
    const TraceSpan inner(TraceName::intern(std::string("row ") + "scan"));
  }
  std::uint64_t second_saw = 0;
  {
    auto second = trace::Recording::start();
    REQUIRE(second);
    TraceReader other(second->rings());
    { const TraceSpan both("both"); }
    second_saw = events_of(*second, other).size();
  }
  CHECK(trace::recording());
  CHECK(second_saw == 2);
  const std::vector<TraceEvent> events = events_of(*first, reader);
  REQUIRE(events.size() == 6);
  CHECK(events[0].kind == TraceKind::kSpanBegin);
  CHECK(events[0].name == "db.query");
  CHECK(events[2].kind == TraceKind::kSpan);
  CHECK(events[2].name == "row scan");
  CHECK(events[3].name == "db.query");
  CHECK(events[3].begin_ns == events[0].begin_ns);
  CHECK(events[3].end_ns >= events[2].end_ns);
  CHECK(events[5].name == "both");
  for (const TraceEvent& event : events) CHECK(event.thread == current_thread_id());
}

TEST_CASE("after the last recording nothing is recorded, and a new one begins empty") {
  {
    auto recording = trace::Recording::start();
    REQUIRE(recording);
    const TraceSpan span("old");
  }
  CHECK_FALSE(trace::recording());
  { const TraceSpan unseen("between"); }
  auto recording = trace::Recording::start();
  REQUIRE(recording);
  TraceReader reader(recording->rings());
  { const TraceSpan span("new"); }
  const std::vector<TraceEvent> events = events_of(*recording, reader);
  REQUIRE(events.size() == 2);
  CHECK(events[1].name == "new");
  CHECK(reader.lost() == 0);
}

}  // namespace
}  // namespace vigil::sampler
