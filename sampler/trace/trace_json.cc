#include "sampler/trace/trace_json.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include <fmt/core.h>

#include "base/text.h"
#include "sampler/trace/trace_slices.h"

namespace vigil::sampler {
namespace {

std::string_view kind_name(SliceKind kind) {
  switch (kind) {
    case SliceKind::kAccept:
      return "accept";
    case SliceKind::kRequest:
      return "request";
    case SliceKind::kTask:
      return "task";
    case SliceKind::kSpan:
      return "span";
    case SliceKind::kLockWait:
      return "lock wait";
  }
  return "?";
}

std::string_view response_name(TraceResponse response) {
  switch (response) {
    case TraceResponse::kSent:
      return "sent";
    case TraceResponse::kWaits:
      return "waited for the reader";
    case TraceResponse::kCut:
      return "cut";
    case TraceResponse::kHijacked:
      return "hijacked";
  }
  return "?";
}

std::string_view method_of(const TraceEvent& event) {
  const auto* const end = std::find(event.method.begin(), event.method.end(), '\0');
  return {event.method.data(), static_cast<std::size_t>(end - event.method.begin())};
}

std::string request_name(const TraceEvent& event) {
  if (!event.name.empty()) return std::string(event.name);
  return fmt::format("{} (no route)", method_of(event));
}

// What is drawn: in the order of its begin, whole or not at all.
struct Item {
  enum class Kind : std::uint8_t { kSlice, kRequest, kWaiting, kRunSlice };
  std::int64_t begin = 0;
  Kind kind = Kind::kSlice;
  std::uint32_t index = 0;
};

class Renderer {
 public:
  Renderer(const Trace& trace, const TraceRenderOptions& options)
      : trace_(trace), options_(options), slices_(thread_slices(trace)) {}

  std::string render() {
    body_ = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    index_events();
    add_metadata();
    std::vector<Item> items = all_items();
    std::size_t drawn = 0;
    while (drawn < items.size() && body_.size() < options_.bytes_max) draw(items[drawn++]);
    const std::size_t left_out = items.size() - drawn;
    if (left_out > 0) add_incomplete("the answer would be too long", items[drawn].begin, left_out);
    add_losses();
    body_.resize(body_.size() - 2);  // the last ",\n"
    add_other_data(left_out);
    return std::move(body_);
  }

 private:
  auto out() { return std::back_inserter(body_); }

  std::int64_t since_began(std::int64_t ns) const {
    const std::int64_t began = trace_.began.time_since_epoch().count();
    const std::int64_t length = (trace_.ended - trace_.began).count();
    return std::clamp<std::int64_t>(ns - began, 0, length);
  }
  std::int64_t since_began(MonotonicTime time) const {
    return since_began(time.time_since_epoch().count());
  }
  std::int64_t length() const { return (trace_.ended - trace_.began).count(); }

  void index_events() {
    for (const TraceEvent& event : trace_.events) {
      if (event.kind == TraceKind::kFlushed) flushed_[event.id] = event.end_ns;
      if (event.kind == TraceKind::kAccept) accepted_.insert(event.connection);
      if (event.kind == TraceKind::kRequest) answered_.insert(event.id);
    }
  }

  std::vector<Item> all_items() const {
    std::vector<Item> items;
    const auto add = [&](std::int64_t begin, Item::Kind kind, std::size_t index) {
      items.push_back({begin, kind, static_cast<std::uint32_t>(index)});
    };
    for (std::size_t i = 0; i < slices_.size(); ++i) add(slices_[i].begin, Item::Kind::kSlice, i);
    for (std::size_t i = 0; i < trace_.events.size(); ++i) {
      const TraceEvent& event = trace_.events[i];
      if (event.kind == TraceKind::kRequest) {
        add(since_began(event.begin_ns), Item::Kind::kRequest, i);
      } else if (event.kind == TraceKind::kQueued && !answered_.contains(event.id)) {
        add(since_began(event.begin_ns), Item::Kind::kWaiting, i);
      }
    }
    for (std::size_t i = 0; i < trace_.run_slices.size(); ++i) {
      add(since_began(trace_.run_slices[i].begin), Item::Kind::kRunSlice, i);
    }
    std::stable_sort(items.begin(), items.end(),
                     [](const Item& a, const Item& b) { return a.begin < b.begin; });
    return items;
  }

  void draw(const Item& item) {
    switch (item.kind) {
      case Item::Kind::kSlice:
        return draw_slice(slices_[item.index]);
      case Item::Kind::kRequest:
        return draw_request(trace_.events[item.index]);
      case Item::Kind::kWaiting:
        return draw_waiting(trace_.events[item.index]);
      case Item::Kind::kRunSlice:
        return draw_run_slice(trace_.run_slices[item.index]);
    }
  }

  // --- Pieces of an event.

  // Opens it: everything up to its args.
  void open(char phase, int pid, pid_t thread, std::int64_t at, std::string_view category,
            std::string_view name) {
    fmt::format_to(out(), R"({{"ph":"{}","pid":{},"tid":{},"ts":{}.{:03},"cat":"{}","name":")",
                   phase, pid, thread, at / 1000, at % 1000, category);
    append_json_escaped(body_, name);
    body_ += '"';
  }
  void add_duration(std::int64_t duration) {
    fmt::format_to(out(), R"(,"dur":{}.{:03})", duration / 1000, duration % 1000);
  }
  void add_id(std::uint64_t id) { fmt::format_to(out(), R"(,"id":"{:#x}")", id); }
  void begin_args() { body_ += ",\"args\":{"; }
  void add_text(std::string_view key, std::string_view value) {
    fmt::format_to(out(), R"("{}":")", key);
    append_json_escaped(body_, value);
    body_ += "\",";
  }
  void add_number(std::string_view key, std::int64_t value) {
    fmt::format_to(out(), R"("{}":{},)", key, value);
  }
  // Of a number that may be beyond what JSON's readers keep exactly.
  void add_task(std::uint64_t task) {
    if (task != 0) add_text("task", std::to_string(task));
  }
  void add_milliseconds(std::string_view key, std::int64_t ns) {
    fmt::format_to(out(), R"("{}":{}.{:03},)", key, ns / 1'000'000, ns / 1000 % 1000);
  }
  void end_args() {
    if (body_.back() == ',') body_.pop_back();
    body_ += '}';
  }
  void close() { body_ += "},\n"; }

  // --- What is drawn.

  void name_process(int pid, std::string_view name, int sort_index) {
    fmt::format_to(out(), R"({{"ph":"M","pid":{},"name":"process_name","args":{{"name":")", pid);
    append_json_escaped(body_, name);
    fmt::format_to(out(),
                   "\"}}}},\n{{\"ph\":\"M\",\"pid\":{},\"name\":\"process_sort_index\",\"args\":{{"
                   "\"sort_index\":{}}}}},\n",
                   pid, sort_index);
  }
  void name_thread(int pid, pid_t thread, std::string_view name) {
    fmt::format_to(out(), R"({{"ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":")",
                   pid, thread);
    append_json_escaped(body_, name);
    body_ += "\"}},\n";
  }

  // Names for every thread that anything is shown of.
  void add_metadata() {
    name_process(options_.pid, options_.process_name, 0);
    std::set<pid_t> with_slices;
    for (const TraceSlice& slice : slices_) with_slices.insert(slice.thread);
    for (const TraceEvent& event : trace_.events) with_slices.insert(event.thread);
    for (const pid_t thread : with_slices) {
      const auto at = trace_.thread_names.find(thread);
      name_thread(options_.pid, thread,
                  at == trace_.thread_names.end() ? "[ended]" : std::string_view(at->second));
    }
    if (trace_.run_slices.empty()) return;
    name_process(kRunStatesPid, fmt::format("{}: run states", options_.process_name), 1);
    for (const auto& [thread, name] : trace_.thread_names) name_thread(kRunStatesPid, thread, name);
  }

  void draw_slice(const TraceSlice& slice) {
    const std::string_view kind = kind_name(slice.kind);
    const bool has_name = slice.kind == SliceKind::kTask || slice.kind == SliceKind::kSpan ||
                          slice.kind == SliceKind::kLockWait;
    open('X', options_.pid, slice.thread, slice.begin, kind, has_name ? slice.name : kind);
    add_duration(slice.end - slice.begin);
    begin_args();
    add_task(slice.task);
    if (slice.end_seen == SliceEnd::kUnfinished) add_text("unfinished", "when the trace ended");
    if (slice.before > 0) add_milliseconds("began_before_trace_ms", slice.before);
    if (slice.event != nullptr) add_slice_details(slice);
    end_args();
    close();
    if (slice.kind == SliceKind::kAccept) draw_flow('s', slice);
    if (slice.kind == SliceKind::kRequest && is_first_of_seen_accept(*slice.event)) {
      draw_flow('f', slice);
    }
  }

  void add_slice_details(const TraceSlice& slice) {
    const TraceEvent& event = *slice.event;
    if (event.connection != 0)
      add_number("connection", static_cast<std::int64_t>(event.connection));
    if (slice.kind == SliceKind::kRequest) {
      add_text("request", request_name(event));
      add_text("id", fmt::format("{:#x}", event.id));
    }
    if (slice.kind == SliceKind::kLockWait) {
      add_text("in", options_.function_at ? options_.function_at(event.caller)
                                          : hex_address(event.caller));
    }
  }

  bool is_first_of_seen_accept(const TraceEvent& request) const {
    return request.id == trace_request_id(request.connection, 1) &&
           accepted_.contains(request.connection);
  }

  // From the accept to the first request's slice.
  void draw_flow(char phase, const TraceSlice& slice) {
    open(phase, options_.pid, slice.thread, slice.begin, "connection", "first request");
    add_id(slice.event->connection);
    if (phase == 'f') body_ += ",\"bp\":\"e\"";
    close();
  }

  void draw_phase(const TraceEvent& event, std::string_view name, std::int64_t from_ns,
                  std::int64_t to_ns) {
    const std::int64_t from = since_began(from_ns);
    draw_async('b', event, name, from);
    close();
    draw_async('e', event, name, std::max(from, since_began(to_ns)));
    close();
  }
  void draw_async(char phase, const TraceEvent& event, std::string_view name, std::int64_t at) {
    open(phase, options_.pid, event.thread, at, "request", name);
    add_id(event.id);
  }

  void draw_request(const TraceEvent& event) {
    const std::string name = request_name(event);
    const auto flushed = flushed_.find(event.id);
    const bool unfinished = event.response == TraceResponse::kWaits && flushed == flushed_.end();
    const std::int64_t end_ns = flushed != flushed_.end() ? flushed->second
                                : unfinished              ? trace_.ended.time_since_epoch().count()
                                                          : event.end_ns;
    draw_async('b', event, name, since_began(event.begin_ns));
    begin_args();
    add_number("status", event.status);
    add_text("method", method_of(event));
    add_number("connection", static_cast<std::int64_t>(event.connection));
    add_number("request_of_connection", static_cast<std::int64_t>(event.id & 0xFF'FFFF));
    add_task(event.task);
    add_text("response", response_name(event.response));
    add_milliseconds("total_ms", std::max<std::int64_t>(0, end_ns - event.begin_ns));
    if (unfinished) add_text("unfinished", "when the trace ended");
    end_args();
    close();
    if (event.heard_ns != 0) draw_phase(event, "accept", event.begin_ns, event.heard_ns);
    const std::int64_t heard = event.heard_ns != 0 ? event.heard_ns : event.begin_ns;
    draw_phase(event, "head", heard, event.queue_ns != 0 ? event.queue_ns : event.head_ns);
    if (event.queue_ns != 0) draw_phase(event, "queue", event.queue_ns, event.head_ns);
    if (event.handler_ns != 0) draw_phase(event, "handler", event.handler_ns, event.handled_ns);
    if (event.response != TraceResponse::kHijacked) {
      draw_phase(event, "write", event.handler_ns != 0 ? event.handled_ns : event.head_ns, end_ns);
    }
    draw_async('e', event, name, since_began(end_ns));
    close();
  }

  // In the queue when the trace ended.
  void draw_waiting(const TraceEvent& event) {
    constexpr std::string_view kName = "waits for a slot";
    draw_async('b', event, kName, since_began(event.begin_ns));
    begin_args();
    add_text("unfinished", "when the trace ended");
    end_args();
    close();
    draw_phase(event, "queue", event.begin_ns, trace_.ended.time_since_epoch().count());
    draw_async('e', event, kName, length());
    close();
  }

  void draw_run_slice(const RunSlice& slice) {
    const std::int64_t begin = since_began(slice.begin);
    open('X', kRunStatesPid, slice.thread, begin, "run state", run_state_name(slice.state));
    add_duration(since_began(slice.end) - begin);
    begin_args();
    add_milliseconds("on_cpu_ms", slice.on_cpu.count());
    add_milliseconds("runnable_ms", slice.runnable.count());
    end_args();
    close();
  }

  // --- What is not in it.

  void add_incomplete(std::string_view why, std::int64_t at, std::uint64_t events) {
    open('i', options_.pid, 0, at, "vigil", "events are missing from here on");
    body_ += ",\"s\":\"g\"";
    begin_args();
    add_text("why", why);
    add_number("events", static_cast<std::int64_t>(events));
    end_args();
    close();
  }

  void add_losses() {
    const TraceLosses& losses = trace_.losses;
    if (losses.overwritten > 0) {
      add_incomplete("they came faster than they were read", 0, losses.overwritten);
    }
    if (losses.dropped > 0) {
      add_incomplete("there were too many", since_began(losses.dropped_from), losses.dropped);
    }
    if (losses.slices_dropped > 0) {
      add_incomplete("too many run states", 0, losses.slices_dropped);
    }
  }

  void add_other_data(std::size_t left_out) {
    const TraceLosses& losses = trace_.losses;
    body_ += "\n],\"otherData\":{";
    add_text("began", format_utc(trace_.began_wall));
    add_milliseconds("length_ms", length());
    add_number("events", static_cast<std::int64_t>(trace_.events.size()));
    add_number("events_overwritten", static_cast<std::int64_t>(losses.overwritten));
    add_number("events_dropped", static_cast<std::int64_t>(losses.dropped));
    add_number("events_left_out", static_cast<std::int64_t>(left_out));
    add_number("run_states_dropped", static_cast<std::int64_t>(losses.slices_dropped));
    add_milliseconds("run_states_every_ms", trace_.look_interval.count());
    if (!losses.run_states_absent.empty()) add_text("run_states_absent", losses.run_states_absent);
    add_milliseconds("collector_cpu_ms", trace_.collector_cpu.count());
    end_args();
    body_ += "}\n";
  }

  const Trace& trace_;
  const TraceRenderOptions& options_;
  const std::vector<TraceSlice> slices_;
  std::unordered_map<std::uint64_t, std::int64_t> flushed_;
  std::unordered_set<std::uint64_t> accepted_;
  std::unordered_set<std::uint64_t> answered_;
  std::string body_;
};

}  // namespace

std::string render_trace(const Trace& trace, const TraceRenderOptions& options) {
  return Renderer(trace, options).render();
}

}  // namespace vigil::sampler
