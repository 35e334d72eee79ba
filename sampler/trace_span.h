// Spans of a program's own in a trace (/debug/pprof/trace).
//
//   vigil::TraceSpan span("db.query");                 // until the scope ends, on this thread
//
//   static const vigil::TraceName kName = vigil::TraceName::intern(table + ".scan");
//   vigil::TraceSpan span(kName);
//
// Spans of one thread nest, and show up on the thread's track inside of its task. One that began
// before the trace did is not in it; one that still runs when the trace ends is, and says so.
//
// Cost: while nobody records a trace a load and a branch at each end, 0.4 ns together; while somebody does two
// clock reads and two events, about 100 ns.
#pragma once

#include <cstdint>
#include <string_view>

#include "sampler/trace/trace_buffer.h"

namespace vigil {

// A span's name: it lives as long as the process. Cheap to copy.
class TraceName {
 public:
  // A literal: what is no constant does not compile.
  consteval TraceName(const char* literal) : text_(literal) {}

  // For a bounded set of names that are made at run time, never for text that a client chooses: it
  // is kept for ever. Thread-safe; takes a lock, and allocates the first time.
  static TraceName intern(std::string_view text);

  std::string_view text() const { return text_; }

 private:
  struct Interned {
    std::string_view text;
  };
  explicit TraceName(Interned interned) : text_(interned.text) {}

  std::string_view text_;
};

// Ends on the thread that began it, in the reverse order of the beginning.
class TraceSpan {
 public:
  explicit TraceSpan(TraceName name) {
    if (sampler::trace::recording()) [[unlikely]]
      begin(name);
  }
  ~TraceSpan() {
    if (begin_ns_ != 0) [[unlikely]]
      end();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  void begin(TraceName name) noexcept;
  void end() noexcept;

  std::int64_t begin_ns_ = 0;  // 0: nobody recorded when it began
  std::string_view name_;
};

}  // namespace vigil
