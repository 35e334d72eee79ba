// What the debug listener answers: headers, errors, and who may ask.

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

TEST_CASE("the index is an HTML page that links every page") {
  Demo demo;
  const HttpAnswer index = demo.debug_get("/debug/pprof/");
  CHECK(index.status == 200);
  CHECK(index.header("Content-Type") == "text/html; charset=utf-8");
  for (const char* part :
       {"goroutine?debug=1", "heap?debug=1", "/debug/pprof/profile", "cmdline", "symbol",
        "/debug/tasks", "/debug/leakwatch", "goroutine?debug=2", "/metrics", "/debug/vars"}) {
    INFO(part);
    CHECK(index.body.find(part) != std::string::npos);
  }
}

TEST_CASE("an unknown profile is Go's 404") {
  Demo demo;
  const HttpAnswer answer = demo.debug_get("/debug/pprof/nope");
  CHECK(answer.status == 404);
  CHECK(answer.body == "Unknown profile\n");
  CHECK(answer.header("X-Go-Pprof") == "1");
  CHECK(answer.header("Content-Type") == "text/plain; charset=utf-8");
}

TEST_CASE("P7.7 every page says nosniff and no-store, a profile is an attachment") {
  Demo demo;
  const HttpAnswer profile = demo.debug_get("/debug/pprof/goroutine");
  CHECK(profile.status == 200);
  CHECK(profile.header("Content-Type") == "application/octet-stream");
  CHECK(profile.header("Content-Disposition") == "attachment; filename=\"goroutine\"");
  CHECK(profile.header("X-Content-Type-Options") == "nosniff");
  CHECK(profile.header("Cache-Control") == "no-store");
  CHECK(profile.header("Content-Encoding").empty());
  CHECK(demo.debug_get("/debug/pprof/goroutine?seconds=1").header("Content-Disposition") ==
        "attachment; filename=\"goroutine-delta\"");
}

TEST_CASE("bad parameters get 400 with a sentence, at once") {
  Demo demo;
  for (const char* path :
       {"/debug/pprof/profile?seconds=0", "/debug/pprof/profile?seconds=x",
        "/debug/pprof/profile?seconds=301", "/debug/pprof/profile?hz=0",
        "/debug/pprof/profile?hz=1001", "/debug/pprof/heap?seconds=-1",
        "/debug/pprof/goroutine?seconds=1&debug=1", "/debug/pprof/wall?hz=0",
        "/debug/fgprof?seconds=301", "/debug/pprof/wall?of=x", "/debug/pprof/profile?min_latency=x",
        "/debug/pprof/profile?route=", "/debug/pprof/goroutine?labels=a,",
        "/debug/pprof/allocs?seconds=0", "/debug/pprof/growth?seconds=301",
        "/debug/pprof/heap?seconds=1&debug=1", "/debug/pprof/profile?format=x",
        "/debug/pprof/wall?format=x", "/pprof/profile?seconds=0"}) {
    INFO(path);
    const HttpAnswer answer = demo.debug_get(path);
    CHECK(answer.status == 400);
    CHECK(answer.header("X-Go-Pprof") == "1");
    CHECK(answer.body.size() > 10);
  }
}

TEST_CASE("a parameter that a page cannot use is named, never passed over") {
  Demo demo;
  const auto refused = [&](const std::string& path, const std::string& name) {
    INFO(path);
    const HttpAnswer answer = demo.debug_get(path);
    CHECK(answer.status == 400);
    CHECK(answer.body.find(name) != std::string::npos);
  };
  for (const char* debug : {"0", "1", "2"}) {
    const std::string dump = "/debug/pprof/goroutine?debug=" + std::string(debug);
    refused(dump + "&min_latency=x", "\"min_latency\"");
    refused(dump + "&min_latency=-1s", "\"min_latency\"");
    refused(dump + "&route=", "\"route\"");
    refused(dump + "&labels=a,", "\"labels\"");
  }
  for (const char* page :
       {"/debug/pprof/heap", "/debug/pprof/allocs", "/debug/pprof/growth", "/debug/pprof/mutex",
        "/debug/pprof/block", "/debug/pprof/threadcreate", "/debug/pprof/delta_heap",
        "/debug/pprof/trace", "/pprof/heap", "/pprof/profile"}) {
    for (const char* name : {"route", "min_latency", "labels"}) {
      refused(std::string(page) + "?" + name + "=/search", "\"" + std::string(name) + "\"");
    }
  }
  refused("/debug/pprof/mutex?by=x", "\"by\"");
  refused("/debug/tasks?format=x", "format");
  refused("/debug/tasks?min_age=x", "min_age");
  refused("/debug/leakwatch?format=x", "format");
  refused("/debug/locks?format=x", "format");
  refused("/debug/pprof/trace?seconds=x", "\"seconds\"");
}

TEST_CASE("the dump of debug=2 has the tasks that its filters ask for, and those alone") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 2);
  demo.debug_get_until("/debug/tasks", "tasks: 2 live");
  const auto blocks = [&](const std::string& query) {
    const std::string dump = demo.debug_get("/debug/pprof/goroutine?debug=2" + query).body;
    std::size_t count = 0;
    for (std::size_t at = dump.find("goroutine "); at != std::string::npos;
         at = dump.find("\ngoroutine ", at + 1)) {
      ++count;
    }
    return count;
  };
  CHECK(blocks("") > 2);
  CHECK(blocks("&route=/stuck") == 2);
  CHECK(blocks("&route=GET%20/stuck") == 2);
  CHECK(blocks("&route=/other") == 0);
  CHECK(blocks("&route=/other&route=/stuck") == 2);
  CHECK(blocks("&route=/stuck&min_latency=1h") == 0);
  demo.post("/release");
  stuck.join();
}

TEST_CASE("P7.2, P7.3 foreign hosts and other pages get 403") {
  Demo demo;
  const auto status_with = [&](const char* name, const char* value) {
    HttpCall call;
    call.path = "/debug/pprof/";
    call.headers.emplace(name, value);
    return http_call(demo.debug(), call).status;
  };
  CHECK(status_with("Host", "evil.example") == 403);
  CHECK(status_with("Host", "evil.example:6060") == 403);
  CHECK(status_with("Host", "localhost:1") == 200);
  CHECK(status_with("Host", "[::1]:6060") == 200);
  CHECK(status_with("Origin", "http://evil.example") == 403);
  CHECK(status_with("Sec-Fetch-Site", "cross-site") == 403);
  CHECK(status_with("Sec-Fetch-Site", "none") == 200);
}

TEST_CASE("P7.4 only GET and HEAD, and POST to symbol alone") {
  Demo demo;
  const auto status_of = [&](const char* method, const char* path) {
    HttpCall call;
    call.method = method;
    call.path = path;
    call.body = "0x1";
    return http_call(demo.debug(), call).status;
  };
  CHECK(status_of("POST", "/debug/pprof/symbol") == 200);
  CHECK(status_of("POST", "/debug/pprof/heap") == 405);
  CHECK(status_of("DELETE", "/debug/tasks") == 405);
  CHECK(status_of("OPTIONS", "/debug/pprof/") == 405);
}

TEST_CASE("P7.5 the application's listener has no debug pages") {
  Demo demo;
  for (const char* path : {"/debug/pprof/", "/debug/tasks", "/debug/leakwatch"}) {
    CHECK(demo.get(path).status == 404);
  }
}

TEST_CASE("cmdline is the program and its arguments, separated by NUL") {
  Demo demo({"--stuck-after=7s"});
  const std::string body = demo.debug_get("/debug/pprof/cmdline").body;
  CHECK(body.find("vigil-demo") < body.find('\0'));
  CHECK(body.find(std::string("\0--stuck-after=7s", 17)) != std::string::npos);
}

TEST_CASE("tasks are listed as text and as JSON") {
  Demo demo;
  Background sleeper(demo.address(), "/sleep?ms=1000", 1);
  const std::string text = demo.debug_get_until("/debug/tasks", "GET /sleep");
  const auto json = nlohmann::json::parse(demo.debug_get("/debug/tasks?format=json").body);
  sleeper.join();
  CHECK(text.find("tasks: 1 live") == 0);
  REQUIRE(json["tasks"].size() == 1);
  CHECK(json["tasks"][0]["label"] == "GET /sleep");
  CHECK(json["tasks"][0]["age_ms"] < 1000);
}

}  // namespace
}  // namespace vigil::test
