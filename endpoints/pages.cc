#include "endpoints/pages.h"

#include <cassert>
#include <string>

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/about.h"
#include "endpoints/bundle.h"
#include "endpoints/capture_parameters.h"
#include "endpoints/conns.h"
#include "endpoints/contention.h"
#include "endpoints/debug_pages.h"
#include "endpoints/guard.h"
#include "endpoints/health.h"
#include "endpoints/leakcheck.h"
#include "endpoints/legacy.h"
#include "endpoints/locks.h"
#include "endpoints/metrics.h"
#include "endpoints/overview.h"
#include "endpoints/page_deadline.h"
#include "endpoints/process.h"
#include "endpoints/profile_ring.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
#include "endpoints/tasks.h"
#include "endpoints/trace.h"
#include "sampler/proc_thread.h"
#include "server-core/router.h"

namespace vigil::endpoints {
namespace {

constexpr std::string_view kProfiles = "/debug/pprof/";
constexpr std::size_t kPostBytesMax = 4 * 1024 * 1024;  // a symbol request: 19 bytes an address

constexpr PageEntry kPages[] = {
    {.path = "/debug/pprof/", .render = index_page},
    {.path = "/debug/", .render = overview_page},
    {.path = "/debug/pprof/allocs",
     .render = snapshot_page<take_allocs>,
     .kind = PageKind::kSnapshot,
     .description =
         "A sampling of all memory allocations since the start. seconds: of those in that time."},
    {.path = "/debug/pprof/goroutine",
     .render = goroutine_page,
     .kind = PageKind::kSnapshot,
     .filters = Filters::kByRequest,
     .description =
         "Stack traces of all tasks and threads. debug=2 prints one block for each, as an "
         "uncaught panic does in Go."},
    {.path = "/debug/pprof/growth",
     .render = snapshot_page<take_growth>,
     .kind = PageKind::kSnapshot,
     .description = "Where the allocator asked the system for memory."},
    {.path = "/debug/pprof/heap",
     .render = snapshot_page<take_heap>,
     .kind = PageKind::kSnapshot,
     .description = "A sampling of the memory allocations of live objects. gc=1 gives free memory "
                    "back to the system first."},
    {.path = "/debug/pprof/delta_heap",
     .render = delta_page<take_heap>,
     .description = "The heap with what was allocated since the same client asked last; id tells "
                    "clients apart."},
    {.path = "/debug/pprof/mutex",
     .render = mutex_page,
     .kind = PageKind::kSnapshot,
     .description =
         "Time spent waiting for mutexes and rwlocks, by the stack that waited; by=holder gives "
         "the stacks that kept them waiting."},
    {.path = "/debug/pprof/delta_mutex",
     .render = delta_page<take_mutex>,
     .description = "The same since the same client asked last; id tells clients apart."},
    {.path = "/debug/pprof/block",
     .render = snapshot_page<take_block>,
     .kind = PageKind::kSnapshot,
     .description =
         "Time spent waiting for mutexes, rwlocks, condition variables, semaphores and threads to "
         "join."},
    {.path = "/debug/pprof/delta_block",
     .render = delta_page<take_block>,
     .description = "The same since the same client asked last; id tells clients apart."},
    {.path = "/debug/pprof/threadcreate",
     .render = snapshot_page<take_threadcreate>,
     .kind = PageKind::kSnapshot,
     .description = "The stacks that created the threads which live now."},
    {.path = "/debug/pprof/rates",
     .render = rates_page,
     .methods = Methods::kGetAndPost,
     .description = "The rate at which waits are sampled: nanoseconds of waiting a sample."},
    {.path = "/debug/pprof/profile",
     .render = cpu_profile_page,
     .kind = PageKind::kCapture,
     .filters = Filters::kByRequest,
     .description =
         "CPU profile. The seconds parameter sets its duration, hz its rate (100), route and "
         "min_latency which requests count. Read it with: go tool pprof URL"},
    {.path = "/debug/pprof/wall",
     .render = wall_profile_page,
     .kind = PageKind::kCapture,
     .filters = Filters::kByRequest,
     .description =
         "Wall-clock profile: where threads spend their time, running or waiting, with the label "
         "state. of=tasks takes those that are in a task, hz sets the rate (50)."},
    {.path = "/debug/fgprof",
     .render = fgprof_page,
     .kind = PageKind::kCapture,
     .filters = Filters::kByRequest,
     .description = "The wall-clock profile under the name that Parca and Alloy ask for."},
    {.path = "/debug/pprof/trace",
     .render = trace_page,
     .kind = PageKind::kRecording,
     .description =
         "What requests and threads did, one after the other: save it and open it in "
         "ui.perfetto.dev or chrome://tracing. The seconds parameter (1) may be a fraction."},
    {.path = "/debug/pprof/cmdline",
     .render = cmdline_page,
     .description = "The command line of this program; values that look secret are hidden."},
    {.path = "/debug/pprof/symbol",
     .render = symbol_page,
     .methods = Methods::kGetAndPost,
     .description =
         "Looks up the program counters of the request and gives their functions' names."},
    {.path = "/debug/symbolz",
     .render = symbol_page,
     .methods = Methods::kGetAndPost,
     .description = "The same, where clients look for it when they read /debug/fgprof."},
    {.path = "/symbolz",
     .render = symbol_page,
     .methods = Methods::kGetAndPost,
     .description = "The same, where older ones do (go tool pprof of Go 1.19)."},
    {.path = "/debug/tasks",
     .render = tasks_page,
     .description =
         "What runs right now: each task with its age. route, min_age and state filter, sort=label "
         "sorts. format=html for a browser, json for programs."},
    {.path = "/debug/locks",
     .render = locks_page,
     .description =
         "Who holds which lock, who waits for it, and deadlocks. format=json, dot or svg."},
    {.path = "/debug/leakwatch",
     .render = leakwatch_page,
     .description =
         "Handlers that are, or were, stuck past the watchdog's threshold, each with its "
         "stack. format=html for a browser, json for programs, pprof for go tool pprof."},
    {.path = "/debug/leakcheck",
     .render = leakcheck_page,
     .description = "All that can leak, in JSON, for the program vigil-leakcheck: tasks, threads, "
                    "descriptors, "
                    "sockets, timers, child processes, the heap by call site, what is stuck."},
    {.path = "/metrics",
     .render = metrics_page,
     .description =
         "Every counter in the text format of Prometheus: connections, requests by route, "
         "timeouts, limits, tasks, the process."},
    {.path = "/debug/vars",
     .render = vars_page,
     .description = "The same counters in JSON, with the command line."},
    {.path = "/debug/conns",
     .render = connections_page,
     .description = "The open connections: peer, state, age, route, bytes. state=idle filters, "
                    "limit=N, format=json."},
    {.path = "/debug/bundle",
     .render = bundle_page,
     .kind = PageKind::kRecording,
     .description = "Every profile, dump and report as one tar.gz, for a ticket. Takes its seconds "
                    "(10)."},
    {.path = "/debug/profiles",
     .render = kept_profiles_page,
     .description = "Profiles taken on the way, every so often or when a trigger fired. id=N "
                    "downloads one, format=json."},
    {.path = "/debug/buildinfo",
     .render = build_info_page,
     .description = "What is running: versions, compiler, build ids. format=json."},
    {.path = "/debug/maps", .render = maps_page, .description = "Where what is mapped."},
    {.path = "/debug/loglevel",
     .render = log_level_page,
     .methods = Methods::kGetAndPost,
     .description = "The least level that is logged; POST level=debug&for=10m sets it."},
    {.path = "/healthz", .render = health_page, .description = "ok, as long as it answers."},
    {.path = "/readyz",
     .render = ready_page,
     .description = "Whether all servers serve: 503 while one drains."},
    // For google-pprof and jeprof, which find them by themselves.
    {.path = "/pprof/cmdline", .render = cmdline_page},
    {.path = "/pprof/contention", .render = legacy_contention_page<take_mutex>},
    {.path = "/pprof/growth", .render = legacy_growth_page},
    {.path = "/pprof/heap", .render = legacy_heap_page},
    {.path = "/pprof/profile", .render = legacy_profile_page, .kind = PageKind::kCapture},
    {.path = "/pprof/symbol", .render = symbol_page, .methods = Methods::kGetAndPost},
};

std::string_view short_name(const PageEntry& page) {
  return page.path.starts_with(kProfiles) ? page.path.substr(kProfiles.size()) : page.path;
}

// The number in the index's first column; empty where a count means nothing.
std::string count_of(const PageEntry& page, const Services& services) {
  if (page.render == goroutine_page) {
    const auto threads = sampler::list_threads();
    return threads ? std::to_string(threads->size()) : "";
  }
  if (page.render == tasks_page) return std::to_string(services.tasks.counters().live);
  if (page.render == leakwatch_page) {
    return std::to_string(services.watchdog.counters().stuck_now);
  }
  return "";
}

// "text · folded · flame", as links.
std::string forms_of(const PageEntry& entry) {
  if (entry.kind == PageKind::kPlain || entry.kind == PageKind::kRecording) return "";
  const std::string_view seconds = entry.kind == PageKind::kCapture ? "&amp;seconds=5" : "";
  return fmt::format(
      "<a href=\"{0}?debug=1{1}\">text</a> <a href=\"{0}?format=folded{1}\">folded</a> "
      "<a href=\"{0}?format=flame{1}\">flame graph</a>",
      html_escaped(entry.path), seconds);
}

// Who asks, for pages that tell their clients apart. Not the port: each scrape may come on a connection of its own.
std::string client_of(const http::Request& request) {
  return fmt::format("{} {}", request.remote_address().host,
                     request.header("User-Agent").value_or(""));
}

void write_page(http::ResponseWriter& response, const Page& page) {
  response.status(page.status);
  for (auto& [name, value] : page_headers(page)) response.headers().set(name, value);
  // A client that is gone is no error of ours.
  if (!response.write(page.body) || !page.stream) return;
  const Result<void> whole = page.stream([&response](std::string_view bytes) -> Result<void> {
    if (Result<void> written = response.write(bytes); !written) return written;
    return response.flush();
  });
  // Cut, so that what is missing cannot be taken for the end.
  if (!whole) throw http::AbortHandler{};
}

Duration capture_seconds(const http::Request& request, const Services& services) {
  const auto text = request.query("seconds");
  // A fraction is what only some pages take; to the others it is no number.
  const auto seconds = fractional_seconds_parameter(text.value_or(""), services.seconds_max);
  return seconds ? *seconds : std::chrono::seconds(kCaptureSecondsDefault);
}

// A profile without filters would answer with everything, and be taken for what was asked for.
Result<void> refuse_filters(const PageEntry& entry, const http::QueryParams& query) {
  const bool is_profile = entry.path.starts_with(kProfiles) || entry.path.starts_with("/pprof/");
  if (!is_profile || entry.filters == Filters::kByRequest) return {};
  for (const std::string_view name : {"route", "min_latency", "labels"}) {
    if (!query.contains(name)) continue;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("\"{}\" is no parameter of this page: only profile, wall, fgprof and "
                             "goroutine know which request a sample belongs to",
                             name));
  }
  return {};
}

void serve(const PageEntry& entry, const Services& services, http::ResponseWriter& response,
           http::Request& request) {
  PageRequest page_request{.method = request.method(),
                           .path = request.path(),
                           .raw_query = request.raw_query(),
                           .query = request.query(),
                           .body = {},
                           .change_header = request.header("X-Vigil-Change").value_or(""),
                           .client = {},
                           .stop = request.stop_token()};
  if (const Result<void> passed = refuse_filters(entry, page_request.query); !passed) {
    return write_page(response, error_page(passed.error()));
  }
  const std::string client = client_of(request);
  page_request.client = client;
  std::string body;
  if (request.method() == "POST") {
    Result<std::string> read = request.read_all(kPostBytesMax);
    if (!read) return write_page(response, error_page(read.error()));
    body = *std::move(read);
    page_request.body = body;
  }
  const Duration capture = takes_its_seconds(entry, page_request)
                               ? capture_seconds(request, services)
                               : Duration::zero();
  PageDeadline deadline(response, request, services.clock, capture);
  const Page page = answer(entry, page_request, services);
  deadline.made(page);
  write_page(response, page);
}

void add_route(http::Router& router, std::string pattern, http::Handler handler) {
  const Result<void> added = router.handle(pattern, std::move(handler));
  assert(added.ok());  // the table above is constant: a conflict in it is our bug
  (void)added;
}

}  // namespace

std::span<const PageEntry> all_pages() { return kPages; }

Page index_page(const PageRequest&, const Services& services) {
  std::string rows;
  std::string descriptions;
  for (const PageEntry& entry : kPages) {
    if (entry.description.empty()) continue;
    const std::string name = html_escaped(short_name(entry));
    fmt::format_to(
        std::back_inserter(rows),
        "<tr><td class=count>{}</td><td><a href=\"{}{}\">{}</a></td><td class=forms>{}</td></tr>\n",
        count_of(entry, services), html_escaped(entry.path),
        entry.kind == PageKind::kSnapshot ? "?debug=1" : "", name, forms_of(entry));
    fmt::format_to(std::back_inserter(descriptions), "<li><b>{}:</b> {}</li>\n", name,
                   html_escaped(entry.description));
  }
  return html_page(fmt::format(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>/debug/pprof/</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
td, th {{ padding: 0 1rem 0 0 }} .count {{ text-align: right; font-variant-numeric: tabular-nums }}
th {{ text-align: left; font-weight: 600 }} .forms a {{ margin-right: .6em }}
code {{ font-size: 90% }}
</style>
</head>
<body>
<h1>/debug/pprof/</h1>
<p>Set <code>debug=1</code> on a profile to read it as text, <code>format=flame</code> to see it as a flame graph.</p>
<h2>Pages</h2>
<table>
<tr><th class=count>Count</th><th>Page</th><th>As</th></tr>
{}</table>
<p><a href="/debug/pprof/goroutine?debug=2">full stack dump of every task and thread</a></p>
<h2>What they are</h2>
<ul>
{}</ul>
</body>
</html>
)",
                               rows, descriptions));
}

Page unknown_page(std::string_view path) {
  return error_page(404, path.starts_with(kProfiles) ? "Unknown profile" : "404 page not found");
}

http::Handler debug_handler(const Services& services, leakwatch::TaskRegistry& listener_tasks,
                            std::string token) {
  http::Router router(listener_tasks);
  for (const PageEntry& entry : kPages) {
    const auto handler = [&entry, &services](http::ResponseWriter& response,
                                             http::Request& request) {
      serve(entry, services, response, request);
    };
    const std::string_view end = entry.path.ends_with('/') ? "{$}" : "";  // not all that is below
    add_route(router, fmt::format("GET {}{}", entry.path, end), handler);
    if (entry.methods == Methods::kGetAndPost) {
      add_route(router, fmt::format("POST {}{}", entry.path, end), handler);
    }
  }
  add_route(router, fmt::format("GET {}{{name}}", kProfiles),
            [](http::ResponseWriter& response, http::Request& request) {
              write_page(response, unknown_page(request.path()));
            });
  return
      [router, token = std::move(token)](http::ResponseWriter& response, http::Request& request) {
        const auto refused = refusal({.host = request.host(),
                                      .origin = request.header("Origin"),
                                      .sec_fetch_site = request.header("Sec-Fetch-Site"),
                                      .authorization = request.header("Authorization"),
                                      .peer = peer_of(request.remote_address().host)},
                                     token);
        if (refused) return write_page(response, error_page(refused->status, refused->reason));
        router(response, request);
      };
}

}  // namespace vigil::endpoints
