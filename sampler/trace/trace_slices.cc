#include "sampler/trace/trace_slices.h"

#include <algorithm>
#include <map>
#include <queue>
#include <unordered_map>

namespace vigil::sampler {
namespace {

std::int64_t ns_of(MonotonicTime time) { return time.time_since_epoch().count(); }

// The outer one first.
bool comes_before(const TraceSlice& a, const TraceSlice& b) {
  return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
}

class Slices {
 public:
  explicit Slices(const Trace& trace) : began_(ns_of(trace.began)), ended_(ns_of(trace.ended)) {}

  void add(TraceSlice slice, std::int64_t begin_ns, std::int64_t end_ns) {
    slice.before = std::max<std::int64_t>(0, began_ - begin_ns);
    slice.begin = std::clamp(begin_ns, began_, ended_) - began_;
    slice.end = std::clamp(end_ns, began_, ended_) - began_;
    slice.end = std::max(slice.begin, slice.end);
    slices_[slice.thread].push_back(slice);
  }

  std::int64_t ended() const { return ended_; }

  // A slice that reaches over the end of the one that it begins in would be drawn wrongly: it begins
  // at that end then. (A pool's thread was busy with the last call when this one's clock began to
  // count.)
  std::vector<TraceSlice> nested() {
    std::vector<TraceSlice> all;
    for (auto& [thread, slices] : slices_) nest(slices, all);
    std::stable_sort(all.begin(), all.end(), comes_before);
    return all;
  }

 private:
  static void nest(const std::vector<TraceSlice>& slices, std::vector<TraceSlice>& out) {
    const auto later = [](const TraceSlice& a, const TraceSlice& b) { return comes_before(b, a); };
    std::priority_queue left(later, slices);
    std::vector<std::int64_t> open_ends;
    while (!left.empty()) {
      TraceSlice slice = left.top();
      left.pop();
      while (!open_ends.empty() && open_ends.back() <= slice.begin) open_ends.pop_back();
      if (!open_ends.empty() && slice.end > open_ends.back()) {
        slice.begin = open_ends.back();
        left.push(slice);
        continue;
      }
      open_ends.push_back(slice.end);
      out.push_back(slice);
    }
  }

  const std::int64_t began_;
  const std::int64_t ended_;
  std::map<pid_t, std::vector<TraceSlice>> slices_;
};

// Spans whose end has not come are open; an end that has lost its begin closes nothing.
using OpenSpans = std::unordered_map<pid_t, std::vector<const TraceEvent*>>;

void close_span(OpenSpans& open, const TraceEvent& end) {
  std::vector<const TraceEvent*>& spans = open[end.thread];
  const auto at = std::find_if(spans.begin(), spans.end(), [&](const TraceEvent* begin) {
    return begin->begin_ns == end.begin_ns && begin->name == end.name;
  });
  // Whatever was inside has ended too: its event was lost.
  spans.erase(at, spans.end());
}

}  // namespace

std::vector<TraceSlice> thread_slices(const Trace& trace) {
  Slices slices(trace);
  OpenSpans open;
  const auto add = [&](SliceKind kind, const TraceEvent& event, std::int64_t begin_ns) {
    slices.add({.kind = kind,
                .thread = event.thread,
                .name = event.name,
                .task = kind == SliceKind::kTask ? event.id : event.task,
                .event = &event},
               begin_ns, event.end_ns);
  };
  for (const TraceEvent& event : trace.events) {
    switch (event.kind) {
      case TraceKind::kAccept:
        add(SliceKind::kAccept, event, event.begin_ns);
        break;
      case TraceKind::kRequest:
        // What came before its head was whole was on other threads, or on none.
        add(SliceKind::kRequest, event, event.head_ns);
        break;
      case TraceKind::kTask:
        add(SliceKind::kTask, event, event.begin_ns);
        break;
      case TraceKind::kSpan:
        close_span(open, event);
        add(SliceKind::kSpan, event, event.begin_ns);
        break;
      case TraceKind::kLockWait:
        add(SliceKind::kLockWait, event, event.begin_ns);
        break;
      case TraceKind::kSpanBegin:
        open[event.thread].push_back(&event);
        break;
      case TraceKind::kQueued:
      case TraceKind::kFlushed:
        break;
    }
  }
  for (const auto& [thread, spans] : open) {
    for (const TraceEvent* span : spans) {
      slices.add({.kind = SliceKind::kSpan,
                  .end_seen = SliceEnd::kUnfinished,
                  .thread = thread,
                  .name = span->name,
                  .event = span},
                 span->begin_ns, slices.ended());
    }
  }
  for (const OpenTask& task : trace.open_tasks) {
    slices.add({.kind = SliceKind::kTask,
                .end_seen = SliceEnd::kUnfinished,
                .thread = task.thread,
                .name = task.name,
                .task = task.id},
               ns_of(task.began), slices.ended());
  }
  return slices.nested();
}

}  // namespace vigil::sampler
