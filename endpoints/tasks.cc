#include "endpoints/tasks.h"

#include <algorithm>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "endpoints/json_page.h"
#include "endpoints/leakwatch_html.h"
#include "endpoints/profile_formats.h"
#include "endpoints/tasks_html.h"

namespace vigil::endpoints {
namespace {

using leakwatch::StuckReport;
using leakwatch::TaskInfo;
using nlohmann::ordered_json;

std::int64_t unix_milliseconds(WallTime time) {
  return whole_milliseconds(time.time_since_epoch());
}

ordered_json to_json(const TaskInfo& task) {
  ordered_json json = {{"id", static_cast<std::uint64_t>(task.id)},
                       {"parent", static_cast<std::uint64_t>(task.parent)},
                       {"label", task.label},
                       {"thread", task.thread}};
  if (task.has_timeout()) json["timeout_ms"] = whole_milliseconds(task.timeout());
  if (task.streaming()) json["stalled_after_ms"] = whole_milliseconds(task.stalled_after);
  return json;
}

ordered_json to_json(const sampler::WaitDetail& wait) {
  ordered_json json = {{"kind", wait_kind_name(wait.kind)}, {"text", wait.text}};
  if (wait.object != 0) json["object"] = hex_address(wait.object);
  if (wait.owner != 0) json["owner_thread"] = wait.owner;
  return json;
}

ordered_json to_json(const leakwatch::LiveStack& stack) {
  ordered_json frames = ordered_json::array();
  for (const sampler::TextFrame& frame : stack.frames) {
    frames.push_back({{"function", frame.function},
                      {"file", frame.file},
                      {"line", frame.line},
                      {"inlined", frame.inlined}});
  }
  return {{"state", stack.state},
          {"thread_name", stack.thread_name},
          {"waits_for", to_json(stack.wait)},
          {"failure", stack.failure},
          {"frames", std::move(frames)}};
}

ordered_json to_json(const leakwatch::RequestInfo& request) {
  return {{"method", request.method},
          {"target", request.target},
          {"peer", request.peer},
          {"request_id", request.request_id},
          {"client_gone", request.client_gone}};
}

ordered_json to_json(const leakwatch::Movement& movement) {
  ordered_json json = {{"text", movement_text(movement)},
                       {"looks", movement.looks},
                       {"changes", movement.changes},
                       {"watched_ms", whole_milliseconds(movement.watched)},
                       {"same_for_ms", whole_milliseconds(movement.same_for)}};
  if (movement.cpu) json["cpu_ms"] = whole_milliseconds(*movement.cpu);
  if (movement.queued) json["queued_ms"] = whole_milliseconds(*movement.queued);
  return json;
}

ordered_json to_json(const leakwatch::Holder& holder) {
  ordered_json json = {{"thread", holder.stack.thread}};
  if (holder.task) json["task"] = to_json(*holder.task);
  json["stack"] = to_json(holder.stack);
  return json;
}

ordered_json labels_of(const leakwatch::LiveStack& stack) {
  ordered_json labels = ordered_json::object();
  for (const auto& [key, value] : stack.labels) labels[key] = value;
  return labels;
}

void add_details(ordered_json& json, const StuckReport& report) {
  json["tasks"] = report.tasks;
  json["stuck_now"] = report.stuck_now;
  ordered_json members = ordered_json::array();
  for (const TaskInfo& task : report.members) members.push_back(to_json(task));
  json["members"] = std::move(members);
  json["limit_ms"] = whole_milliseconds(report.limit);
  json["thresholds_passed"] = std::uint64_t{1} << report.level;
  json["abandoned"] = report.abandoned();
  json["draining"] = report.draining;
  if (report.request) json["request"] = to_json(*report.request);
  json["labels"] = labels_of(report.stack);
  json["where"] = place_of(report.stack);
  json["movement"] = to_json(report.movement);
  if (report.holder) json["holder"] = to_json(*report.holder);
}

ordered_json to_json(const StuckReport& report, MonotonicTime now) {
  const bool stuck = report.state == leakwatch::EpisodeState::kStuck;
  ordered_json json = {{"report", report.number},
                       {"state", episode_state_name(report.state)},
                       {"leaked_past_its_timeout", report.leaked},
                       {"stalled", report.stalled},
                       {"task", to_json(report.task)},
                       {"flagged_at_unix_ms", unix_milliseconds(report.flagged_at)},
                       {"age_when_flagged_ms", whole_milliseconds(report.age_when_flagged)}};
  json["age_ms"] = whole_milliseconds(stuck ? report.task.age(now) : report.total_age);
  add_details(json, report);
  json["stack"] = to_json(report.stack);
  return json;
}

ordered_json to_json(const leakwatch::DeadlockReport& report) {
  ordered_json threads = ordered_json::array();
  for (const leakwatch::DeadlockParty& party : report.parties) {
    ordered_json json = {{"thread", party.waits.waiter},
                         {"waits_for_thread", party.waits.owner},
                         {"lock", hex_address(party.waits.lock)}};
    if (party.task) json["task"] = to_json(*party.task);
    json["stack"] = to_json(party.stack);
    threads.push_back(std::move(json));
  }
  return {{"deadlock", report.number},
          {"over", report.over},
          {"seen_at_unix_ms", unix_milliseconds(report.seen_at)},
          {"threads", std::move(threads)}};
}

ordered_json to_json(const leakwatch::WatermarkReport& report) {
  return {{"watermark", report.number},
          {"what", watermark_name(report.kind)},
          {"limit", report.limit},
          {"value", report.value},
          {"peak", report.peak},
          {"over", report.over},
          {"crossed_at_unix_ms", unix_milliseconds(report.crossed_at)},
          {"dump", report.dump}};
}

ordered_json to_json(const leakwatch::CallbackThread::Counters& callbacks) {
  return {{"called", callbacks.called},
          {"overrun", callbacks.overrun},
          {"failed", callbacks.failed},
          {"dropped", callbacks.dropped}};
}

ordered_json leakwatch_json(const Services& services, MonotonicTime now) {
  const auto counters = services.watchdog.counters();
  ordered_json reports = ordered_json::array();
  for (const StuckReport& report : services.watchdog.reports()) {
    reports.push_back(to_json(report, now));
  }
  ordered_json deadlocks = ordered_json::array();
  for (const auto& report : services.watchdog.deadlocks()) deadlocks.push_back(to_json(report));
  ordered_json watermarks = ordered_json::array();
  for (const auto& report : services.watchdog.watermarks()) watermarks.push_back(to_json(report));
  return {{"threshold_ms", whole_milliseconds(services.watchdog.threshold())},
          {"stuck_now", counters.stuck_now},
          {"flagged", counters.flagged},
          {"leaked", counters.leaked},
          {"stalled", counters.stalled},
          {"recovered", counters.recovered},
          {"reported", counters.reported},
          {"records_suppressed", counters.records_suppressed},
          {"reports_dropped", counters.reports_dropped},
          {"deadlocks_found", counters.deadlocks},
          {"callbacks", to_json(counters.callbacks)},
          {"watermarks_crossed", counters.watermarks},
          {"watermarks", std::move(watermarks)},
          {"deadlocks", std::move(deadlocks)},
          {"reports", std::move(reports)}};
}

// Why it was flagged, beyond its age; each reason ends with a comma.
std::string reasons_of(const StuckReport& report) {
  std::string reasons;
  if (report.leaked) {
    reasons =
        fmt::format("leaked past its timeout of {}, ", format_duration(report.task.timeout()));
  }
  if (report.stalled) {
    const MonotonicTime flagged = report.task.started + report.age_when_flagged;
    reasons += fmt::format("a stream without progress for {} (it allows {}), ",
                           format_duration(report.task.without_progress(flagged)),
                           format_duration(report.task.stalled_after));
  }
  if (report.abandoned()) reasons += "abandoned (its client is gone), ";
  if (report.draining) reasons += "while the server shuts down, ";
  return reasons;
}

std::string waits_for(const leakwatch::LiveStack& stack) {
  return stack.wait.text.empty() ? "" : ": " + valid_utf8(stack.wait.text);
}

// The lines between a report's head and its stack: each one only if there is something to say.
std::string details_of(const StuckReport& report) {
  std::string details;
  if (report.tasks > 1) {
    details += fmt::format("{} tasks hang here, {} were flagged:", report.stuck_now, report.tasks);
    for (const TaskInfo& task : report.members) {
      details += fmt::format(" {}", static_cast<std::uint64_t>(task.id));
    }
    details += report.tasks > report.members.size() ? " …\n" : "\n";
  }
  if (const auto& request = report.request) {
    details += fmt::format("request: {} {} from {}", request->method, request->target,
                           request->peer.empty() ? "somebody" : request->peer);
    details += request->request_id.empty() ? "\n" : fmt::format(", id {}\n", request->request_id);
  }
  for (const auto& [key, value] : report.stack.labels) {
    details += fmt::format("label: {}={}\n", valid_utf8(key), valid_utf8(value));
  }
  const std::string movement = movement_text(report.movement);
  if (!movement.empty()) details += "since then: " + movement + "\n";
  const std::string place = place_of(report.stack);
  if (!place.empty()) details += "where: " + place + "\n";
  return details;
}

std::string holder_of(const StuckReport& report) {
  if (!report.holder) return "";
  return fmt::format("held by {} [{}{}]\n{}",
                     thread_title(report.holder->stack, report.holder->task),
                     report.holder->stack.state, waits_for(report.holder->stack),
                     format_stack(report.holder->stack));
}

std::string thread_of(const StuckReport& report) {
  if (report.stack.thread == 0) return "on no thread";
  return fmt::format("thread {} {}", report.stack.thread, valid_utf8(report.stack.thread_name));
}

void append_report(std::string& out, const StuckReport& report, MonotonicTime now) {
  const bool stuck = report.state == leakwatch::EpisodeState::kStuck;
  const Duration age = stuck ? report.task.age(now) : report.total_age;
  fmt::format_to(
      std::back_inserter(out),
      "\nreport {}: {}, {}{}, age {} (flagged at {})\ntask {}, {} [{}{}]\n{}{}{}", report.number,
      valid_utf8(report.task.label), reasons_of(report), episode_state_name(report.state),
      format_duration(age), format_duration(report.age_when_flagged),
      static_cast<std::uint64_t>(report.task.id), thread_of(report), report.stack.state,
      waits_for(report.stack), details_of(report), format_stack(report.stack), holder_of(report));
}

std::string watermarks_text(const Services& services) {
  std::string out;
  for (const auto& report : services.watchdog.watermarks()) {
    fmt::format_to(std::back_inserter(out), "\nhigh watermark {}: {}{}, peak {}\n{}", report.number,
                   watermark_text(report), report.over ? ", over" : "", report.peak, report.dump);
  }
  return out;
}

std::string leakwatch_text(const Services& services, MonotonicTime now) {
  const auto counters = services.watchdog.counters();
  if (services.watchdog.threshold() == Duration::zero()) {
    return "watchdog: off\n" + watermarks_text(services);
  }
  std::string out = fmt::format("watchdog: tasks older than {} are flagged\n",
                                format_duration(services.watchdog.threshold()));
  fmt::format_to(
      std::back_inserter(out),
      "stuck now {}, flagged {}, of these past their own timeout {}, stalled streams {}, recovered "
      "{}, deadlocks {}, reports {}, dropped {}, log records suppressed {}\n",
      counters.stuck_now, counters.flagged, counters.leaked, counters.stalled, counters.recovered,
      counters.deadlocks, counters.reported, counters.reports_dropped, counters.records_suppressed);
  if (const auto& told = counters.callbacks; told.called > 0 || told.dropped > 0) {
    fmt::format_to(std::back_inserter(out),
                   "callbacks {}, beyond their budget {}, failed {}, dropped {}\n", told.called,
                   told.overrun, told.failed, told.dropped);
  }
  for (const auto& report : services.watchdog.deadlocks()) {
    fmt::format_to(std::back_inserter(out), "\ndeadlock {}{}\n{}", report.number,
                   report.over ? ", over" : "", format_deadlock(report));
  }
  for (const StuckReport& report : services.watchdog.reports()) append_report(out, report, now);
  out += watermarks_text(services);  // their dumps are long
  return out;
}

using Order = bool (*)(const TaskInfo& a, const TaskInfo& b);

// Age stands for the snapshot's own order, oldest first.
Result<void> sort_tasks(std::vector<TaskInfo>& tasks, std::string_view by) {
  if (by == "age") return {};
  Order order = nullptr;
  if (by == "label") order = [](const TaskInfo& a, const TaskInfo& b) { return a.label < b.label; };
  if (by == "thread") {
    order = [](const TaskInfo& a, const TaskInfo& b) { return a.thread < b.thread; };
  }
  if (by == "id") order = [](const TaskInfo& a, const TaskInfo& b) { return a.id < b.id; };
  if (order == nullptr) {
    return Error(ErrorCode::kInvalidArgument, "sort: not age, label, thread or id");
  }
  std::stable_sort(tasks.begin(), tasks.end(), order);
  return {};
}

using Filter = bool (*)(const TaskInfo& task, const TaskStates& states);

// null for a state that there is not.
Filter filter_of(std::string_view state) {
  if (state.empty()) return [](const TaskInfo&, const TaskStates&) { return true; };
  if (state == "streaming") {
    return [](const TaskInfo& task, const TaskStates&) { return task.streaming(); };
  }
  if (state == "late") {
    return [](const TaskInfo& task, const TaskStates& states) {
      return states.now >= task.gives_up_at;
    };
  }
  if (state == "stuck") {
    return [](const TaskInfo& task, const TaskStates& states) {
      return states.stuck.contains(task.id);
    };
  }
  if (state == "waiting") {
    return [](const TaskInfo& task, const TaskStates&) { return task.waiting(); };
  }
  return nullptr;
}

// What the query asks for: route (a part of the label), min_age, state, sort.
Result<void> filter_and_sort(std::vector<TaskInfo>& tasks, const PageRequest& request,
                             const TaskStates& states) {
  const auto route = request.query.get("route").value_or("");
  const Filter filter = filter_of(request.query.get("state").value_or(""));
  if (filter == nullptr) {
    return Error(ErrorCode::kInvalidArgument, "state: not stuck, late, streaming or waiting");
  }
  auto age = request.query.get("min_age").value_or("");
  const auto min_age = parse_duration(age.empty() ? "0" : age);
  if (!min_age) return Error(min_age.error()).with_context("min_age");
  std::erase_if(tasks, [&](const TaskInfo& task) {
    return task.label.find(route) == std::string_view::npos || !filter(task, states) ||
           task.age(states.now) < *min_age;
  });
  const auto by = request.query.get("sort").value_or("");
  return sort_tasks(tasks, by.empty() ? "age" : by);
}

std::string tasks_text(const std::vector<TaskInfo>& tasks, const TaskStates& states,
                       const Services& services) {
  const auto counters = services.tasks.counters();
  std::string out = fmt::format("tasks: {} live, {} started, {} untracked\n", tasks.size(),
                                counters.started, counters.untracked);
  if (!tasks.empty())
    out += fmt::format("{:>10} {:>10} {:>8}  {}\n", "ID", "AGE", "THREAD", "LABEL");
  for (const TaskInfo& task : tasks) {
    const std::string state = states.of(task);
    out += fmt::format("{:>10} {:>10} {:>8}  {}{}\n", static_cast<std::uint64_t>(task.id),
                       format_duration(task.age(states.now)),
                       task.waiting() ? "-" : std::to_string(task.thread), valid_utf8(task.label),
                       state.empty() ? "" : " (" + state + ")");
  }
  return out;
}

ordered_json tasks_json(const std::vector<TaskInfo>& tasks, const TaskStates& states,
                        const Services& services) {
  const auto counters = services.tasks.counters();
  ordered_json list = ordered_json::array();
  for (const TaskInfo& task : tasks) {
    list.push_back(to_json(task));
    list.back()["age_ms"] = whole_milliseconds(task.age(states.now));
    if (const std::string state = states.of(task); !state.empty()) list.back()["state"] = state;
  }
  return {{"live", tasks.size()},
          {"started", counters.started},
          {"untracked", counters.untracked},
          {"tasks", std::move(list)}};
}

}  // namespace

Page tasks_page(const PageRequest& request, const Services& services) {
  const auto format = request.query.get("format").value_or("text");
  if (format != "text" && format != "html" && format != "json") {
    return error_page(400, "format: not text, html or json");
  }
  auto tasks = services.tasks.snapshot();
  const auto stuck = services.watchdog.stuck_tasks();
  const TaskStates states{services.clock.now(), {stuck.begin(), stuck.end()}};
  if (Result<void> done = filter_and_sort(tasks, request, states); !done) {
    return error_page(done.error());
  }
  if (format == "json") return json_page(tasks_json(tasks, states, services));
  if (format == "html") {
    return html_page(tasks_html(tasks, states, request, services));
  }
  return text_page(tasks_text(tasks, states, services));
}

Page leakwatch_page(const PageRequest& request, const Services& services) {
  const MonotonicTime now = services.clock.now();
  const auto format = request.query.get("format").value_or("text");
  if (format != "text" && format != "html" && format != "json" && format != "pprof") {
    return error_page(400, "format: not text, html, json or pprof");
  }
  if (format == "pprof") {
    return profile_page(leakwatch_profile(services, now), ProfileFormat::kProto, request, services,
                        "leakwatch");
  }
  if (format == "html") {
    return html_page(leakwatch_html(services, now));
  }
  if (wants_json(request)) return json_page(leakwatch_json(services, now));
  return text_page(leakwatch_text(services, now));
}

}  // namespace vigil::endpoints
