#include "endpoints/leakwatch_html.h"

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/html_head.h"
#include "leakwatch/async_task.h"
#include "leakwatch/deadlock_watch.h"
#include "leakwatch/stuck_report.h"

namespace vigil::endpoints {
namespace {

using leakwatch::StuckReport;

constexpr int kRefreshSeconds = 2;

std::string folded(std::string_view summary, std::string_view text) {
  return fmt::format("<details><summary>{}</summary><pre>{}</pre></details>", html_escaped(summary),
                     html_escaped(text));
}

// Where it is, what it waits for, and whether it moves.
std::string why_of(const StuckReport& report) {
  std::string why;
  if (const std::string place = place_of(report.stack); !place.empty()) {
    why = fmt::format("<b>{}</b><br>", html_escaped(place));
  }
  why += html_escaped(report.stack.state);
  if (!report.stack.wait.text.empty()) why += ": " + html_escaped(report.stack.wait.text);
  if (report.leaked) why += "<br>leaked past its timeout";
  if (report.stalled) why += "<br>a stream without progress";
  if (report.abandoned()) why += "<br>abandoned: its client is gone";
  if (report.draining) why += "<br>the server is shutting down";
  const std::string movement = movement_text(report.movement);
  if (!movement.empty()) why += "<br>" + html_escaped(movement);
  return why;
}

std::string who_of(const StuckReport& report) {
  std::string who = html_escaped(valid_utf8(report.task.label));
  if (const auto& request = report.request) {
    who += fmt::format("<br>{} {}<br>from {} {}", html_escaped(request->method),
                       html_escaped(request->target), html_escaped(request->peer),
                       html_escaped(request->request_id));
  }
  return who;
}

void append_row(std::string& out, const StuckReport& report, MonotonicTime now) {
  const bool stuck = report.state == leakwatch::EpisodeState::kStuck;
  const std::string_view state = episode_state_name(report.state);
  fmt::format_to(std::back_inserter(out),
                 "<tr class={}><td class=number>{}</td><td>{}</td><td class=number>{}</td><td "
                 "class=number>{}</td><td>{}</td><td>{}{}",
                 stuck ? "" : "recovered", report.number,
                 stuck ? "<span class=stuck>stuck</span>" : state,
                 stuck ? report.stuck_now : report.tasks,
                 format_duration(stuck ? report.task.age(now) : report.total_age), who_of(report),
                 why_of(report), folded("stack", format_stack(report.stack)));
  if (report.holder) {
    out += folded("held by " + thread_title(report.holder->stack, report.holder->task),
                  format_stack(report.holder->stack));
  }
  out += "</td></tr>\n";
}

void append_deadlock(std::string& out, const leakwatch::DeadlockReport& deadlock) {
  fmt::format_to(std::back_inserter(out), "<h2>Deadlock {}{}</h2>\n<ul>", deadlock.number,
                 deadlock.over ? ", over" : "");
  for (const leakwatch::DeadlockParty& party : deadlock.parties) {
    fmt::format_to(std::back_inserter(out), "<li>{} waits for {}<br><b>{}</b>{}</li>\n",
                   html_escaped(thread_title(party.stack, party.task)),
                   html_escaped(party.stack.wait.text), html_escaped(place_of(party.stack)),
                   folded("stack", format_stack(party.stack)));
  }
  out += "</ul>\n";
}

void append_rows(std::string& out, const std::vector<StuckReport>& reports,
                 leakwatch::EpisodeState state, MonotonicTime now) {
  for (const StuckReport& report : reports) {
    if (report.state == state) append_row(out, report, now);
  }
}

}  // namespace

std::string leakwatch_html(const Services& services, MonotonicTime now) {
  const auto counters = services.watchdog.counters();
  std::string out = html_head("/debug/leakwatch", kRefreshSeconds);
  fmt::format_to(std::back_inserter(out),
                 "<p>Tasks older than {} are flagged. Stuck now: <b>{}</b>. Flagged {}, recovered "
                 "{}, deadlocks {}. <a href=\"/debug/tasks?format=html\">All tasks</a>, <a "
                 "href=\"/debug/locks?format=svg\">locks</a>.</p>\n",
                 format_duration(services.watchdog.threshold()), counters.stuck_now,
                 counters.flagged, counters.recovered, counters.deadlocks);
  for (const auto& deadlock : services.watchdog.deadlocks()) append_deadlock(out, deadlock);
  out +=
      "<table><tr><th>Report</th><th>State</th><th class=number>Tasks</th><th "
      "class=number>Age</th><th>Who</th><th>Why and where</th></tr>\n";
  const auto reports = services.watchdog.reports();
  append_rows(out, reports, leakwatch::EpisodeState::kStuck, now);
  append_rows(out, reports, leakwatch::EpisodeState::kRecovered, now);
  out += "</table>\n";
  for (const auto& report : services.watchdog.watermarks()) {
    fmt::format_to(std::back_inserter(out), "<h2>High watermark: {}{}</h2>\n{}\n",
                   watermark_text(report), report.over ? ", over" : "",
                   folded(fmt::format("what there was, peak {}", report.peak), report.dump));
  }
  return out + "</body>\n</html>\n";
}

sampler::StackProfile leakwatch_profile(const Services& services, MonotonicTime now) {
  sampler::StackProfile profile;
  profile.name = "leakwatch";
  profile.sample_types = {{"tasks", "count"}, {"age", "nanoseconds"}};
  profile.default_sample_type = "tasks";
  profile.period_type = {"tasks", "count"};
  profile.period = 1;
  profile.start = services.clock.wall_now();
  for (const StuckReport& report : services.watchdog.reports()) {
    if (report.state != leakwatch::EpisodeState::kStuck) continue;
    const auto tasks = static_cast<std::int64_t>(report.stuck_now);
    sampler::Label route{.key = "route", .text = std::string(report.task.label)};
    leakwatch::name_places(report.stack, profile);
    profile.samples.push_back(
        {report.stack.raw, {tasks, tasks * report.task.age(now).count()}, {std::move(route)}});
  }
  return profile;
}

}  // namespace vigil::endpoints
