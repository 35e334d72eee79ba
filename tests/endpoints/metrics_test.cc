// The metrics' two renderings, of numbers that a test made up.

#include "endpoints/metrics.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <map>
#include <sstream>
#include <type_traits>

#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "endpoints/metric_fields.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

using namespace std::chrono_literals;

Metrics example() {
  Metrics metrics;
  metrics.version = "1.2.3";
  metrics.process.cpu_seconds = 1.25;
  metrics.tasks.live = 3;
  metrics.watchdog.leaked = 2;
  metrics.watchdog.stalled = 9;
  metrics.watchdog.deadlocks = 6;
  metrics.watchdog.records_suppressed = 17;
  for (const Duration age : {Duration(5ms), Duration(10ms), Duration(11ms), Duration(90s)}) {
    metrics.task_ages.add(age);
  }
  metrics.watchdog.watermarks = 41;
  metrics.watchdog.callbacks = {.called = 42, .overrun = 43, .failed = 44, .dropped = 45};
  metrics.stuck_after = 5s;
  metrics.heap_loss = sampler::HeapLoss{.samples_lost = 21, .samples_untracked = 22};
  metrics.contention = sampler::ContentionCounters{
      .samples = 31, .lost_delay = 250ms, .handoff = 1500ms, .waiting = 34};
  metrics.timeout_pools.push_back({"p", {.calls = 7, .timed_out = 1}});
  for (const char* name : {"main", "admin"}) {
    ServerMetrics server;
    server.name = name;
    server.stats.connections.idle = 4;
    server.stats.connections.queued = 2;
    server.stats.queue.waiting = 6;
    server.stats.queue.waited = 1500ms;
    server.stats.timeouts.idle = 5;
    server.stats.websockets = {.open = 11, .opened = 12, .messages_in = 13, .messages_out = 14};
    server.stats.websockets.closed[static_cast<std::size_t>(http::CloseClass::kLost)] = 15;
    server.stats.connections.hijacked = 7;
    server.stats.hijacked = 8;
    server.stats.headers_late = 9;
    server.stats.going_down.hijacked_closed = 10;
    server.stats.going_down.hijacked_forced = 11;
    server.stats.tls = {.handshakes = 9, .resumed = 4, .failures = 3};
    if (server.name == "main") server.stats.tls.certificate_expires = WallTime(1'800'000'000s);
    server.stats.unrouted.status_classes[4] = 6;
    http::HandlerStats handler;
    handler.status_classes[2] = 3;
    handler.durations[0] = 1;
    handler.durations[2] = 1;
    handler.durations.back() = 1;
    handler.total = 12s;
    server.routes.push_back({"GET /o/{id}", handler});
    server.routes.push_back({"odd \"\\\n", {}});
    metrics.servers.push_back(server);
  }
  return metrics;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("Prometheus text: HELP and TYPE once a family, its samples together, a line end last") {
  const std::string text = prometheus_text(example());
  REQUIRE_FALSE(text.empty());
  CHECK(text.back() == '\n');
  std::map<std::string, int> helps;
  std::string family;
  for (const std::string& line : lines_of(text)) {
    INFO(line);
    if (line.rfind("# HELP ", 0) == 0) {
      family = line.substr(7, line.find(' ', 7) - 7);
      CHECK(++helps[family] == 1);
    } else if (line.rfind("# TYPE ", 0) == 0) {
      CHECK(line.substr(7, family.size() + 1) == family + " ");
    } else {
      CHECK(line.rfind(family, 0) == 0);
    }
  }
}

TEST_CASE("Prometheus text: values, labels, states") {
  const std::string text = prometheus_text(example());
  for (const char* line :
       {"vigil_build_info{version=\"1.2.3\"} 1",
        "process_cpu_seconds_total 1.25",
        "vigil_tasks 3",
        "vigil_watchdog_leaked_total 2",
        "vigil_watchdog_stalled_total 9",
        "vigil_watchdog_deadlocks_total 6",
        "vigil_watchdog_records_suppressed_total 17",
        "vigil_task_age_seconds_bucket{le=\"0.01\"} 2",
        "vigil_task_age_seconds_bucket{le=\"0.1\"} 3",
        "vigil_task_age_seconds_bucket{le=\"60\"} 3",
        "vigil_task_age_seconds_bucket{le=\"600\"} 4",
        "vigil_task_age_seconds_bucket{le=\"+Inf\"} 4",
        "vigil_task_age_seconds_count 4",
        "vigil_watchdog_watermarks_total 41",
        "vigil_watchdog_callbacks_total{outcome=\"called\"} 42",
        "vigil_watchdog_callbacks_total{outcome=\"overrun\"} 43",
        "vigil_watchdog_callbacks_total{outcome=\"failed\"} 44",
        "vigil_watchdog_callbacks_total{outcome=\"dropped\"} 45",
        "vigil_watchdog_threshold_seconds 5",
        "vigil_http_connections{server=\"admin\",state=\"idle\"} 4",
        "vigil_http_timeouts_total{server=\"main\",phase=\"idle\"} 5",
        "vigil_http_connections{server=\"main\",state=\"queued\"} 2",
        "vigil_http_queue_waiting{server=\"main\"} 6",
        "vigil_http_queue_wait_seconds_total{server=\"main\"} 1.5",
        "vigil_http_hijacked_connections{server=\"main\"} 7",
        "vigil_http_hijacked_total{server=\"main\"} 8",
        "vigil_http_headers_late_total{server=\"main\"} 9",
        "vigil_http_shutdown_connections_total{server=\"main\",end=\"hijacked_closed\"} 10",
        "vigil_http_shutdown_connections_total{server=\"main\",end=\"hijacked_forced\"} 11",
        "vigil_http_requests_total{server=\"main\",route=\"GET /o/{id}\",code=\"2xx\"} 3",
        "vigil_http_requests_total{server=\"main\",route=\"\",code=\"4xx\"} 6",
        "vigil_websockets{server=\"main\"} 11",
        "vigil_websocket_messages_total{server=\"main\",direction=\"in\"} 13",
        "vigil_websocket_messages_total{server=\"admin\",direction=\"out\"} 14",
        "vigil_websocket_closed_total{server=\"main\",class=\"lost\"} 15",
        "vigil_websocket_closed_total{server=\"main\",class=\"normal\"} 0",
        "vigil_heap_losses_total{what=\"samples_lost\"} 21",
        "vigil_heap_losses_total{what=\"samples_untracked\"} 22",
        "vigil_heap_losses_total{what=\"buckets_full\"} 0",
        "vigil_contention_samples_total 31",
        "vigil_contention_lost_delay_seconds_total 0.25",
        "vigil_contention_handoff_seconds_total 1.5",
        "vigil_contention_waiting_threads 34",
        "vigil_handler_timeout_calls_total{pool=\"p\"} 7",
        "vigil_tls_handshakes_total{server=\"main\",result=\"full\"} 5",
        "vigil_tls_handshakes_total{server=\"main\",result=\"resumed\"} 4",
        "vigil_tls_handshakes_total{server=\"admin\",result=\"failed\"} 3",
        "vigil_tls_certificate_expiry_timestamp_seconds{server=\"main\"} 1800000000",
        "vigil_handler_timeouts_total{pool=\"p\"} 1"}) {
    INFO(line);
    CHECK(has_line(text, line));
  }
}

TEST_CASE("Prometheus text: a histogram is cumulative and ends with +Inf, sum and count") {
  const std::string text = prometheus_text(example());
  const std::string name = "vigil_http_request_duration_seconds";
  const std::string labels = "server=\"main\",route=\"GET /o/{id}\"";
  for (const auto& [bound, count] : std::map<std::string, int>{
           {"0.0001", 1}, {"0.0005", 1}, {"0.001", 2}, {"0.0025", 2}, {"10", 2}, {"+Inf", 3}}) {
    INFO(bound);
    CHECK(has_line(text,
                   name + "_bucket{" + labels + ",le=\"" + bound + "\"} " + std::to_string(count)));
  }
  CHECK(has_line(text, name + "_sum{" + labels + "} 12"));
  CHECK(has_line(text, name + "_count{" + labels + "} 3"));
}

TEST_CASE("label values are escaped, bytes that are not UTF-8 replaced") {
  CHECK(escaped_label("a\\b\"c\nd") == "a\\\\b\\\"c\\nd");
  CHECK(escaped_label("\xff") == "\xEF\xBF\xBD");
  CHECK(prometheus_text(example()).find("route=\"odd \\\"\\\\\\n\"") != std::string::npos);
}

TEST_CASE("without servers there are the process and the tasks only") {
  Metrics metrics = example();
  metrics.servers.clear();
  metrics.timeout_pools.clear();
  const std::string text = prometheus_text(metrics);
  CHECK(text.find("vigil_tasks 3") != std::string::npos);
  CHECK(text.find("vigil_http_") == std::string::npos);
  CHECK(text.find("vigil_websocket") == std::string::npos);
}

TEST_CASE("without a sampler in the allocator or hooks in the locks their numbers are left out") {
  Metrics metrics = example();
  metrics.heap_loss.reset();
  metrics.contention.reset();
  const std::string text = prometheus_text(metrics);
  CHECK(text.find("vigil_heap_") == std::string::npos);
  CHECK(text.find("vigil_contention_") == std::string::npos);
  const auto json = nlohmann::json::parse(vars_json(metrics, {}));
  CHECK_FALSE(json.contains("heap"));
  CHECK_FALSE(json.contains("contention"));
}

TEST_CASE("profiles that count since the start are counted, captures have their totals, too") {
  Metrics metrics = example();
  metrics.profiles["heap"] = {.profiles = 3, .span = sampler::CounterSpan::kSinceStart};
  metrics.profiles["wall"] = {.profiles = 1, .samples = 50, .losses = {{"rounds_skipped", 2}}};
  const std::string text = prometheus_text(metrics);
  CHECK(has_line(text, "vigil_profiles_total{profile=\"heap\"} 3"));
  CHECK(has_line(text, "vigil_profiles_total{profile=\"wall\"} 1"));
  CHECK(has_line(text, "vigil_profile_samples_total{profile=\"wall\"} 50"));
  CHECK(has_line(text, "vigil_profile_losses_total{profile=\"wall\",what=\"rounds_skipped\"} 2"));
  CHECK(text.find("vigil_profile_samples_total{profile=\"heap\"}") == std::string::npos);
  CHECK(text.find("cpu_seconds_total{profile=\"heap\"}") == std::string::npos);
  const auto profiles = nlohmann::json::parse(vars_json(metrics, {}))["profiles"];
  CHECK(profiles["heap"] == nlohmann::json{{"profiles", 3}});
  CHECK(profiles["wall"]["samples"] == 50);
}

TEST_CASE("JSON has the same numbers") {
  const auto json = nlohmann::json::parse(vars_json(example(), {"prog", "--x"}));
  CHECK(json["cmdline"] == std::vector<std::string>{"prog", "--x"});
  CHECK(json["version"] == "1.2.3");
  CHECK(json["tasks"]["live"] == 3);
  CHECK(json["watchdog"]["leaked"] == 2);
  CHECK(json["watchdog"]["stalled"] == 9);
  CHECK(json["heap"]["samples_lost"] == 21);
  CHECK(json["contention"]["samples"] == 31);
  CHECK(json["contention"]["handoff_seconds"] == 1.5);
  CHECK(json["timeout_pools"]["p"]["timed_out"] == 1);
  const auto& server = json["servers"]["main"];
  CHECK(server["websockets"]["open"] == 11);
  CHECK(server["websockets"]["closed"]["lost"] == 15);
  CHECK(server["connections"]["idle"] == 4);
  CHECK(server["connections"]["open"] == 6);
  CHECK(server["queue"]["wait_seconds_total"] == 1.5);
  CHECK(server["connections"]["hijacked"] == 7);
  CHECK(server["hijacked"] == 8);
  CHECK(server["headers_late"] == 9);
  CHECK(server["going_down"]["hijacked_closed"] == 10);
  CHECK(server["going_down"]["hijacked_forced"] == 11);
  CHECK(server["routes"]["GET /o/{id}"]["status"]["2xx"] == 3);
  CHECK(server["routes"]["GET /o/{id}"]["durations"][2]["up_to_seconds"] == 0.001);
  CHECK(server["routes"]["GET /o/{id}"]["durations"].back()["up_to_seconds"].is_null());
  CHECK(server["routes"][""]["requests"] == 6);
}

double as_double(const MetricNumber& number) {
  return std::visit([](auto value) { return static_cast<double>(value); }, number);
}

TEST_CASE("every number of a server has a row in the table") {
  using http::ServerStats;
  static_assert(std::is_trivially_copyable_v<ServerStats> && alignof(ServerStats) == 8);
  const auto shown = [](std::size_t word) {
    ServerStats stats;
    const std::uint64_t value = 1'000'000'000;
    std::memcpy(reinterpret_cast<char*>(&stats) + 8 * word, &value, 8);
    const auto fields = server_fields();
    return std::any_of(fields.begin(), fields.end(),
                       [&](const auto& field) { return as_double(field.read(stats)) != 0; });
  };
  const std::size_t routes_begin = offsetof(ServerStats, unrouted) / 8;
  const std::size_t routes_end = routes_begin + sizeof(http::HandlerStats) / 8;
  const std::size_t expiry_begin = offsetof(ServerStats, tls.certificate_expires) / 8;
  const std::size_t expiry_end = expiry_begin + sizeof(ServerStats::Tls::certificate_expires) / 8;
  const std::size_t no_class = offsetof(ServerStats, status_classes) / 8;
  for (std::size_t word = 0; word < sizeof(ServerStats) / 8; ++word) {
    INFO("the 64-bit word " << word << " of ServerStats");
    // Shown as a route, and the certificate's expiry, which not every server has.
    const bool elsewhere =
        (word >= routes_begin && word < routes_end) || (word >= expiry_begin && word < expiry_end);
    CHECK(shown(word) == !(elsewhere || word == no_class));
  }
}

TEST_CASE("the process figures are this process's") {
  const ProcessFigures before = process_figures();
  CHECK(before.resident_bytes > 1 << 20);
  CHECK(before.virtual_bytes >= before.resident_bytes);
  CHECK(before.threads >= 1);
  CHECK(before.max_fds >= before.open_fds);
  const auto now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  CHECK(before.start_time_seconds <= now + 2);  // the boot time is a whole second
  CHECK(before.start_time_seconds > now - 3600);
  const UniqueFd one_more(::dup(0));
  CHECK(process_figures().open_fds == before.open_fds + 1);
}

}  // namespace
}  // namespace vigil::endpoints
