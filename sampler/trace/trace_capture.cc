#include "sampler/trace/trace_capture.h"

#include <algorithm>

#include "sampler/rounds.h"

namespace vigil::sampler {
namespace {

// A ring must not be overwritten between two of them: 8,000 events of one thread in this time.
constexpr Duration kRound = std::chrono::milliseconds(10);

// So that `threads` looks every so often stay within kTraceLooksPerSecond.
Duration interval_for(std::size_t threads) {
  const Duration needed = std::chrono::seconds(threads) / kTraceLooksPerSecond;
  return std::max(kRound, needed);
}

class Capture {
 public:
  Capture(const TraceOptions& options, Clock& clock, const trace::Recording& recording)
      : options_(options), reader_(recording.rings()), states_(options.run_slices_max) {
    trace_.began = clock.now();
    trace_.began_wall = clock.wall_now();
  }

  MonotonicTime round(MonotonicTime now) {
    drain(TraceReader::Unfinished::kWait);
    if (now >= next_look_) look(now);
    return now + kRound;
  }

  Trace finish(MonotonicTime now, Duration cpu) {
    drain(TraceReader::Unfinished::kSkip);
    states_.end(now);
    trace_.ended = now;
    trace_.run_slices = states_.slices();
    trace_.thread_names = states_.names();
    trace_.losses.overwritten = reader_.lost();
    trace_.losses.slices_dropped = states_.dropped();
    trace_.collector_cpu = cpu;
    return std::move(trace_);
  }

 private:
  void drain(TraceReader::Unfinished unfinished) {
    reader_.drain(
        [&](const TraceEvent& event) {
          if (trace_.events.size() < options_.events_max) return trace_.events.push_back(event);
          const MonotonicTime at{Duration(event.begin_ns)};
          TraceLosses& losses = trace_.losses;
          if (losses.dropped++ == 0 || at < losses.dropped_from) losses.dropped_from = at;
        },
        unfinished);
  }

  void look(MonotonicTime now) {
    const Result<std::size_t> threads = states_.look(now);
    if (!threads) {
      trace_.losses.run_states_absent = threads.error().message();
      next_look_ = kNoDeadline;
      return;
    }
    trace_.look_interval = interval_for(*threads);
    next_look_ = now + trace_.look_interval;
  }

  const TraceOptions& options_;
  TraceReader reader_;
  RunStates states_;
  MonotonicTime next_look_{};
  Trace trace_;
};

}  // namespace

Result<Trace> capture_trace(const TraceOptions& options, Clock& clock,
                            const std::stop_token& stop) {
  const Result<trace::Recording> recording = trace::Recording::start();
  if (!recording) return recording.error();
  const std::int64_t cpu_before = own_cpu_ns();
  Capture capture(options, clock, *recording);
  run_rounds(clock, options.deadline, stop, [&](MonotonicTime now) { return capture.round(now); });
  if (stop.stop_requested()) return Error(ErrorCode::kClosed, "the client went away");
  return capture.finish(clock.now(), Duration(own_cpu_ns() - cpu_before));
}

}  // namespace vigil::sampler
