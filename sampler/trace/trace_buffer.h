// Where the program's threads leave what they have done while a trace is being recorded.
//
//   if (trace::recording()) [[unlikely]] {                       // off: one load and a branch
//     trace::emit({.kind = TraceKind::kSpan, .begin_ns = …, .end_ns = …, .name = "db.query"});
//   }
//
//   trace::Recording on = *trace::Recording::start();            // several at once share the rings
//   TraceReader reader(on.rings());
//   reader.drain([&](const TraceEvent& event) { … });            // every 10 ms
//
// Model. kTraceRings rings of fixed slots; a thread writes to the one that its number gives, so
// threads seldom meet on one. A position is taken from the ring's counter, and position p of a ring
// of n slots lives in slot p mod n. The slot's sequence says what it holds:
//
//      2p+1    position p is being written         claimed by compare-exchange from any even,
//      2p+2    position p is whole                 smaller number; else the event is lost
//
// Nobody waits: a writer that meets a slot under the pen of another one, a whole lap behind, drops
// its event, and a reader that was lapped skips. Each reader counts the positions that it did not
// get. The fields are atomics, because readers look while writers write (see task_registry.h).
//
// Why not one ring for each thread: its end would have to be noticed, its ring kept until it is
// read, and 1,000 threads would need 1,000 rings.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vigil::sampler {

enum class TraceKind : std::uint8_t {
  kAccept,     // begin, end, connection
  kQueued,     // begin, id: a request waits for a slot, until its kRequest says how long
  kRequest,    // all fields but `caller`: the whole life of a request, told at its end
  kFlushed,    // end, id: what a response's reader had not taken at kRequest is out
  kTask,       // begin, end, id, name
  kSpanBegin,  // begin, name; told again, whole, at the end
  kSpan,       // begin, end, name
  kLockWait,   // begin, end, name (what was waited for), caller
};

// What became of a request's response.
enum class TraceResponse : std::uint8_t { kSent, kWaits, kCut, kHijacked };

// Times are nanoseconds of CLOCK_MONOTONIC; 0 means that there was no such moment.
struct TraceEvent {
  TraceKind kind = TraceKind::kSpan;
  TraceResponse response = TraceResponse::kSent;
  std::uint16_t status = 0;
  pid_t thread = 0;  // emit() fills it in
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::uint64_t id = 0;   // of the request (trace_request_id), or of the task
  std::string_view name;  // literal or interned: must live as long as the process
  std::uint64_t connection = 0;
  std::uint64_t task = 0;     // of a request's handler; 0: none
  std::uintptr_t caller = 0;  // code address
  // Of a request: begin is the accept or the first byte, end is when the response was out.
  std::int64_t heard_ns = 0;  // the connection's first byte; 0 where begin is it
  std::int64_t head_ns = 0;   // the head, and a small body, are whole
  std::int64_t queue_ns = 0;  // when it began to wait for a slot; 0: it did not
  std::int64_t handler_ns = 0;
  std::int64_t handled_ns = 0;
  std::array<char, 8> method{};  // cut to fit, padded with NUL
};

// A request's id: the connection's number, and the how-manieth request it was on it.
constexpr std::uint64_t trace_request_id(std::uint64_t connection, std::uint64_t request) {
  return connection << 24 | (request & 0xFF'FFFF);
}

inline constexpr std::size_t kTraceEventWords = sizeof(TraceEvent) / sizeof(std::uint64_t);
static_assert(sizeof(TraceEvent) == 15 * sizeof(std::uint64_t));

// A slot is zero before its first use.
struct alignas(64) TraceSlot {
  std::atomic<std::uint64_t> sequence;
  std::array<std::atomic<std::uint64_t>, kTraceEventWords> words;
};
static_assert(sizeof(TraceSlot) == 128);

// One ring. Any number of writers and readers; no call waits. Not owning its slots.
class alignas(64) TraceRing {
 public:
  // `slots` is not empty and zero.
  explicit TraceRing(std::span<TraceSlot> slots) : slots_(slots) {}

  // Signal-safe, no lock, no allocation. Cost: two atomic read-modify-writes, about 15 ns.
  void emit(const TraceEvent& event) noexcept;

  // The position that the next event gets.
  std::uint64_t next() const { return next_.load(std::memory_order_acquire); }
  std::size_t capacity() const { return slots_.size(); }

  enum class Look : std::uint8_t { kWhole, kPending, kLost };
  Look read(std::uint64_t position, TraceEvent& into) const;

 private:
  const std::span<TraceSlot> slots_;
  std::atomic<std::uint64_t> next_{0};
};

// Takes out of rings what was emitted since it was made; readers do not notice each other.
// Not thread-safe. The rings must outlive it.
class TraceReader {
 public:
  explicit TraceReader(std::span<const TraceRing> rings);

  // What becomes of an event that is just being written: it and those behind it are left for the
  // next time (unless the ring is half full behind it), or it is lost.
  enum class Unfinished : std::uint8_t { kWait, kSkip };

  // What is new; events of one thread come in their order. kSkip is for the last time.
  template <typename Sink>
  void drain(Sink&& sink, Unfinished unfinished = Unfinished::kWait) {
    for (std::size_t i = 0; i < rings_.size(); ++i) {
      TraceEvent event;
      while (next_of(i, unfinished, event)) sink(event);
    }
  }

  // Events that were overwritten, or dropped by their writers, before they were read.
  std::uint64_t lost() const { return lost_; }

 private:
  bool next_of(std::size_t ring, Unfinished unfinished, TraceEvent& into);

  std::span<const TraceRing> rings_;
  std::vector<std::uint64_t> positions_;
  std::uint64_t lost_ = 0;
};

namespace trace {

inline constexpr std::size_t kTraceRings = 16;
// 16 MiB in all: a thread may emit 8,000 events between two looks of the readers (10 ms).
inline constexpr std::size_t kTraceSlotsPerRing = 8192;

struct Rings;  // the process's

// Not null while somebody records. The rings are made once and never unmapped, because a thread may
// be inside emit() when the last recording ends; their memory is given back then.
extern constinit std::atomic<Rings*> active;

// Whether anybody records. Signal-safe.
inline bool recording() noexcept { return active.load(std::memory_order_relaxed) != nullptr; }

// Does nothing while nobody records. Sets event.thread. Signal-safe but for a thread's first call
// (thread_id.h).
void emit(TraceEvent event) noexcept;

// CLOCK_MONOTONIC, for events whose maker has no Clock at hand.
std::int64_t now_ns() noexcept;

// A number that was never given before in this process; not 0.
std::uint64_t new_id() noexcept;

// Keeps recording on while it lives. Movable.
class Recording {
 public:
  // resource_exhausted: no memory for the rings. Thread-safe.
  static Result<Recording> start();
  ~Recording();
  Recording(Recording&& other) noexcept : rings_(other.rings_) { other.rings_ = nullptr; }
  Recording& operator=(Recording&&) = delete;

  std::span<const TraceRing> rings() const;

 private:
  explicit Recording(Rings* rings) : rings_(rings) {}
  Rings* rings_;
};

}  // namespace trace
}  // namespace vigil::sampler
