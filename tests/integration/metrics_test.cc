// /metrics and /debug/vars of a real server, read by the programs that they are for.

#include <cstdio>
#include <fstream>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

using nlohmann::json;

// The value of the sample that begins with `name_and_labels`; -1 if there is none.
double sample(const std::string& text, const std::string& name_and_labels) {
  const std::size_t at = ("\n" + text).find("\n" + name_and_labels + " ");
  if (at == std::string::npos) return -1;
  return std::stod(text.substr(at + name_and_labels.size() + 1));
}

std::string metrics_until(const Demo& demo, const std::string& line) {
  return demo.debug_get_until("/metrics", line);
}

TEST_CASE("promtool accepts the metrics") {
  Demo demo;
  CHECK(demo.get("/hello").status == 200);
  CHECK(demo.get("/throw").status == 500);
  CHECK(demo.get("/nothing").status == 404);
  const std::string text = metrics_until(demo, "route=\"GET /throw\",code=\"5xx\"} 1");
  const TemporaryFolder folder;
  const std::string path = folder.path / "metrics";
  std::ofstream(path) << text;
  const Finished checked = run({"sh", "-c", "promtool check metrics < " + path});
  INFO(checked.err);
  INFO(checked.out);
  CHECK(checked.exit_status == 0);
  CHECK(checked.err.empty());
  CHECK(checked.out.empty());
}

TEST_CASE("promtool complains where a family is broken, so the test above can fail") {
  const Finished checked =
      run({"sh", "-c", "printf 'a_total 1\\na_total 2\\n' | promtool check metrics"});
  CHECK(checked.exit_status != 0);
}

TEST_CASE("the metrics count what was asked, by route and status class") {
  Demo demo;
  for (int i = 0; i < 3; ++i) CHECK(demo.get("/hello").status == 200);
  CHECK(demo.get("/throw").status == 500);
  CHECK(demo.get("/nothing").status == 404);
  const std::string text = metrics_until(demo, "route=\"\",code=\"4xx\"} 1");
  const auto requests = [&](const char* route, const char* code) {
    return sample(text, std::string("vigil_http_requests_total{server=\"main\",route=\"") + route +
                            "\",code=\"" + code + "\"}");
  };
  CHECK(requests("GET /hello", "2xx") == 3);
  CHECK(requests("GET /throw", "5xx") == 1);
  CHECK(requests("", "4xx") == 1);
  CHECK(sample(text,
               "vigil_http_request_duration_seconds_count{server=\"main\",route=\"GET /hello\"}") ==
        3);
  CHECK(sample(text,
               "vigil_http_request_duration_seconds_bucket{server=\"main\",route=\"GET "
               "/hello\",le=\"+Inf\"}") == 3);
  CHECK(sample(text, "vigil_http_connections_accepted_total{server=\"main\"}") == 5);
  CHECK(sample(text, "process_resident_memory_bytes") > 1 << 20);
  CHECK(sample(text, "process_open_fds") > 3);
  CHECK(sample(text, "process_threads") >= 4);
  CHECK(sample(text, "vigil_build_info{version=\"0.1.0\"}") == 1);
  CHECK(sample(text, "vigil_tasks_started_total") == 4);
}

TEST_CASE("the type says which text format it is, and each family is there once") {
  Demo demo;
  const HttpAnswer answer = demo.debug_get("/metrics");
  CHECK(answer.status == 200);
  CHECK(answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(answer.body.back() == '\n');
  std::map<std::string, int> types;
  std::istringstream lines(answer.body);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) ++types[line.substr(7, line.find(' ', 7) - 7)];
  }
  CHECK(types.size() > 20);
  for (const auto& [family, times] : types) {
    INFO(family);
    CHECK(times == 1);
  }
}

TEST_CASE("the same in JSON at /debug/vars") {
  Demo demo;
  CHECK(demo.get("/hello").status == 200);
  (void)metrics_until(demo, "route=\"GET /hello\",code=\"2xx\"} 1");
  const HttpAnswer answer = demo.debug_get("/debug/vars");
  CHECK(answer.header("Content-Type") == "application/json; charset=utf-8");
  const json vars = json::parse(answer.body);
  CHECK(vars["servers"]["main"]["routes"]["GET /hello"]["status"]["2xx"] == 1);
  CHECK(vars["servers"]["main"]["routes"]["GET /hello"]["requests"] == 1);
  CHECK(vars["process"]["resident_bytes"] > 1 << 20);
  CHECK(vars["tasks"]["started"] == 1);
  CHECK(vars["cmdline"][0].get<std::string>().find("vigil-demo") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
