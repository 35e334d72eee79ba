#include "endpoints/overview.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <span>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::endpoints {
namespace {

struct Running {
  std::uint64_t tasks = 0;
  Duration oldest{0};
};

std::map<std::string_view, Running> running_by_label(const Services& services, MonotonicTime now) {
  std::map<std::string_view, Running> running;
  for (const leakwatch::TaskInfo& task : services.tasks.snapshot()) {
    Running& of_label = running[task.label];
    ++of_label.tasks;
    of_label.oldest = std::max(of_label.oldest, task.age(now));
  }
  return running;
}

RouteOverview overview_of(const std::string& server, const std::string& pattern,
                          const http::HandlerStats& stats) {
  RouteOverview route;
  route.server = server;
  route.pattern = pattern;
  route.requests = stats.requests();
  route.errors = stats.status_classes[5];
  route.p50 = quantile_bound(stats, 0.5);
  route.p99 = quantile_bound(stats, 0.99);
  return route;
}

// The routes of all servers, then tasks that are none's: of companions, workers and pools.
std::vector<RouteOverview> routes_of(const Metrics& metrics,
                                     std::map<std::string_view, Running> running) {
  std::vector<RouteOverview> routes;
  for (const ServerMetrics& server : metrics.servers) {
    for (const http::RouteStats& each : server.routes) {
      routes.push_back(overview_of(server.name, each.pattern, each.handler));
      if (const auto at = running.find(each.pattern); at != running.end()) {
        routes.back().running = at->second.tasks;
        routes.back().oldest = at->second.oldest;
        running.erase(at);
      }
    }
    if (server.stats.unrouted.requests() > 0) {
      routes.push_back(overview_of(server.name, "", server.stats.unrouted));
    }
  }
  for (const auto& [label, now] : running) {
    RouteOverview route;
    route.pattern = label;
    route.running = now.tasks;
    route.oldest = now.oldest;
    routes.push_back(std::move(route));
  }
  std::stable_sort(routes.begin(), routes.end(), [](const auto& a, const auto& b) {
    if (a.oldest != b.oldest) return a.oldest > b.oldest;
    return a.requests > b.requests;
  });
  return routes;
}

std::string mib(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

std::string bound_text(Duration bound) {
  if (bound == Duration(0)) return "";
  if (bound == Duration::max()) return "&gt; 10s";
  return "&le; " + format_duration(bound);
}

// A figure with its name.
std::string figure(std::string_view name, std::string_view value, std::string_view note = "") {
  return fmt::format("<div class=figure><b>{}</b><span>{}</span><small>{}</small></div>\n", value,
                     name, note);
}

// A counter, by its `key`, whose rate between two loads the page shows.
std::string rate_figure(std::string_view name, std::string_view key, double total,
                        std::string_view unit) {
  return fmt::format(
      "<div class=figure><b data-key=\"{}\" data-total=\"{}\" data-unit=\"{}\">&ndash;</b>"
      "<span>{}</span><svg data-spark=\"{}\" viewBox=\"0 0 60 16\" preserveAspectRatio=none>"
      "</svg></div>\n",
      key, total, unit, name, key);
}

std::string figures(const Overview& overview) {
  const Metrics& metrics = overview.metrics;
  std::uint64_t requests = 0;
  std::uint64_t open = 0;
  for (const ServerMetrics& server : metrics.servers) {
    requests += server.stats.requests;
    open += server.stats.connections.open();
  }
  std::string out = "<section class=figures>\n";
  out += figure("up", format_duration(overview.uptime));
  out += rate_figure("CPU", "cpu", metrics.process.cpu_seconds * 100, "%");
  out += rate_figure("requests", "requests", static_cast<double>(requests), "/s");
  out += figure("memory resident", mib(metrics.process.resident_bytes),
                mib(metrics.process.virtual_bytes) + " virtual");
  out += figure("threads", std::to_string(metrics.process.threads));
  out += figure("descriptors", std::to_string(metrics.process.open_fds),
                fmt::format("of {}", metrics.process.max_fds));
  out += figure("connections", std::to_string(open));
  out += figure(
      "tasks", std::to_string(metrics.tasks.live),
      fmt::format("{} older than 1 s", metrics.task_ages.older_than(std::chrono::seconds(1))));
  out += fmt::format(
      "<div class=\"figure{}\"><b>{}</b><span>stuck now</span><small>{}</small></div>\n",
      metrics.watchdog.stuck_now > 0 ? " bad" : "", metrics.watchdog.stuck_now,
      metrics.stuck_after == Duration(0) ? "not watched"
                                         : "after " + format_duration(metrics.stuck_after));
  return out + "</section>\n";
}

// The innermost frame of the program's own code, as far as its source file tells: those of the C
// library have relative ones, headers are below /usr. Else the innermost of all.
const sampler::TextFrame* telling_frame(std::span<const sampler::TextFrame> frames) {
  for (const sampler::TextFrame& frame : frames) {
    // Nor the interposed lock functions that it was called through.
    if (frame.function.starts_with("vigil::sampler::contention::")) continue;
    if (frame.file.starts_with("/") && !frame.file.starts_with("/usr/")) return &frame;
  }
  return frames.empty() ? nullptr : &frames.front();
}

void append_stuck(std::string& out, const leakwatch::StuckReport& report, MonotonicTime now) {
  std::string where = html_escaped(report.stack.state);
  if (!report.stack.wait.text.empty()) where += ": " + html_escaped(report.stack.wait.text);
  if (const sampler::TextFrame* frame = telling_frame(report.stack.frames)) {
    where += "<br><code>" + html_escaped(valid_utf8(frame->function)) + "</code>";
  }
  fmt::format_to(std::back_inserter(out),
                 "<tr><td>{}</td><td class=n>{}</td><td class=n>{}</td><td>{}</td></tr>\n",
                 html_escaped(valid_utf8(report.task.label)), report.stuck_now,
                 format_duration(report.task.age(now)), where);
}

std::string stuck_section(const Overview& overview) {
  if (overview.stuck.empty()) return "";
  constexpr std::size_t kShown = 10;
  std::string out =
      "<h2 class=bad>Stuck now</h2>\n<table><tr><th>What</th><th class=n>Tasks</th><th "
      "class=n>Age</th><th>Where</th></tr>\n";
  for (std::size_t i = 0; i < std::min(kShown, overview.stuck.size()); ++i) {
    append_stuck(out, overview.stuck[i], overview.now);
  }
  return out +
         "</table>\n<p><a href=\"/debug/leakwatch?format=html\">all reports, with stacks</a></p>\n";
}

void append_route(std::string& out, const RouteOverview& route) {
  const std::string name =
      route.pattern.empty() ? "<i>no route</i>" : html_escaped(valid_utf8(route.pattern));
  const std::string key = html_escaped(valid_utf8(route.server + " " + route.pattern));
  fmt::format_to(std::back_inserter(out),
                 "<tr><td>{}</td><td class=quiet>{}</td><td class=n>{}</td><td "
                 "class=n>{}</td><td class=n>{}</td><td class=n data-key=\"{}\" data-total=\"{}\" "
                 "data-unit=\"/s\"></td><td class=n>{}</td><td class=n>{}</td><td "
                 "class=\"n{}\">{}</td></tr>\n",
                 name, html_escaped(valid_utf8(route.server)),
                 route.running == 0 ? "" : std::to_string(route.running),
                 route.running == 0 ? "" : format_duration(route.oldest), route.requests, key,
                 route.requests, bound_text(route.p50), bound_text(route.p99),
                 route.errors > 0 ? " bad" : "",
                 route.errors == 0 ? "" : std::to_string(route.errors));
}

std::string routes_section(const Overview& overview) {
  std::string out =
      "<h2>Tasks by route</h2>\n<table><tr><th>Route</th><th>Server</th><th class=n>Running</th>"
      "<th class=n>Oldest</th><th class=n>Requests</th><th class=n>Now</th><th class=n>p50</th>"
      "<th class=n>p99</th><th class=n>5xx</th></tr>\n";
  std::size_t unused = 0;
  for (const RouteOverview& route : overview.routes) {
    if (route.requests == 0 && route.running == 0) {
      ++unused;
    } else {
      append_route(out, route);
    }
  }
  fmt::format_to(std::back_inserter(out),
                 "<tr><td class=quiet colspan=9>{} routes without a request</td></tr>\n", unused);
  return out + "</table>\n";
}

constexpr std::string_view kLinks = R"(<h2>Look closer</h2>
<ul class=links>
<li><a href="/debug/pprof/">profiles</a> CPU, wall, heap, locks, trace
<li><a href="/debug/pprof/profile?seconds=5&amp;format=flame">CPU flame graph</a> of 5 s
<li><a href="/debug/pprof/heap?format=flame">heap flame graph</a>
<li><a href="/debug/pprof/goroutine?debug=2">all stacks</a>
<li><a href="/debug/tasks">tasks</a> <a href="/debug/leakwatch?format=html">stuck handlers</a>
<li><a href="/debug/locks">locks</a> <a href="/debug/conns">connections</a>
<li><a href="/metrics">metrics</a> <a href="/debug/vars">as JSON</a>
<li><a href="/debug/buildinfo">build</a> <a href="/debug/maps">maps</a> <a href="/debug/loglevel">log level</a>
<li><a href="/debug/bundle?seconds=10">everything as one file</a> takes 10 s
</ul>
)";

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>/debug/</title>
<style>
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --bad: #c33; --ink: #36c }
@media (prefers-color-scheme: dark) { :root { --quiet: #999; --bad: #f77; --ink: #8af } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
.program { overflow-wrap: anywhere; color: var(--quiet); margin: .2rem 0 1rem }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem }
.figure { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem; min-height: 4.2rem }
.figure b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums }
.figure span { display: block } .figure small { color: var(--quiet) }
.figure svg { width: 100%; height: 1rem; display: block }
.figure svg polyline { fill: none; stroke: var(--ink); stroke-width: 1.2; vector-effect: non-scaling-stroke }
.bad, .bad b { color: var(--bad) } .quiet { color: var(--quiet) }
table { border-collapse: collapse; width: 100% }
td, th { padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.links { columns: 2; padding-left: 1.2rem } .links a { margin-right: .5em }
a { color: var(--ink) } .stale { opacity: .5 }
</style>
</head>
<body>
)";

// Loads the page again and takes its <main>; what has data-total is shown as a rate between two
// loads. `text` of an SVG is built of numbers only.
constexpr std::string_view kScript = R"(<script>
"use strict";
const history = new Map();
let before = null;
function totals(root) {
  const found = new Map();
  for (const e of root.querySelectorAll("[data-total]")) found.set(e.dataset.key, Number(e.dataset.total));
  return { at: performance.now(), found };
}
function show(now) {
  for (const e of document.querySelectorAll("[data-total]")) {
    const key = e.dataset.key;
    if (!before || !before.found.has(key)) continue;
    const rate = (now.found.get(key) - before.found.get(key)) / ((now.at - before.at) / 1000);
    e.textContent = rate > 0 || e.tagName === "B" ? (rate < 10 ? rate.toFixed(1) : Math.round(rate)) + " " + e.dataset.unit : "";
    const line = history.get(key) || [];
    line.push(Math.max(rate, 0));
    if (line.length > 60) line.shift();
    history.set(key, line);
  }
  for (const svg of document.querySelectorAll("[data-spark]")) {
    const line = history.get(svg.dataset.spark) || [];
    const top = Math.max(1e-9, ...line);
    const points = line.map((v, i) => (i + 60 - line.length) + "," + (15 - 14 * v / top).toFixed(1)).join(" ");
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    shape.setAttribute("points", points);
    svg.replaceChildren(shape);
  }
}
async function look() {
  const main = document.querySelector("main");
  try {
    const answer = await fetch("/debug/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!answer.ok || !fresh) throw new Error("status " + answer.status);
    const now = totals(fresh);
    main.replaceWith(document.adoptNode(fresh));
    show(now);
    before = now;
  } catch (error) {
    main.classList.add("stale");
  }
  setTimeout(look, 2000);
}
before = totals(document);
setTimeout(look, 1000);
</script>
)";

}  // namespace

Duration quantile_bound(const http::HandlerStats& stats, double quantile) {
  const std::uint64_t all = stats.requests();
  if (all == 0) return Duration(0);
  const double wanted = quantile * static_cast<double>(all);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < http::HandlerStats::kBounds.size(); ++i) {
    below += stats.durations[i];
    if (static_cast<double>(below) >= wanted) return http::HandlerStats::kBounds[i];
  }
  return Duration::max();
}

Overview overview_of(const Services& services) {
  Overview overview;
  overview.now = services.clock.now();
  overview.metrics = metrics_of(services);
  overview.routes = routes_of(overview.metrics, running_by_label(services, overview.now));
  for (leakwatch::StuckReport& report : services.watchdog.reports()) {
    if (report.state == leakwatch::EpisodeState::kStuck)
      overview.stuck.push_back(std::move(report));
  }
  for (const std::string& argument : services.command_line) {
    overview.program += (overview.program.empty() ? "" : " ") + argument;
  }
  const auto modules = services.modules.current();
  for (const sampler::Module& module : modules->modules()) {
    if (module.is_main) overview.build_id = module.build_id;
  }
  const double started = overview.metrics.process.start_time_seconds;
  const double wall = fractional_seconds(services.clock.wall_now().time_since_epoch());
  overview.uptime = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::max(0.0, wall - started)));
  return overview;
}

std::string overview_html(const Overview& overview) {
  std::string out(kHead);
  fmt::format_to(std::back_inserter(out),
                 "<main>\n<h1>process {}</h1>\n<p class=program><code>{}</code><br>build id {}, "
                 "vigil {}</p>\n",
                 ::getpid(), html_escaped(valid_utf8(overview.program)),
                 overview.build_id.empty() ? "none" : overview.build_id,
                 html_escaped(overview.metrics.version));
  out += figures(overview);
  out += stuck_section(overview);
  out += routes_section(overview);
  out += "</main>\n";
  out += kLinks;
  out += kScript;
  return out + "</body>\n</html>\n";
}

Page overview_page(const PageRequest&, const Services& services) {
  return html_page(overview_html(overview_of(services)));
}

}  // namespace vigil::endpoints
