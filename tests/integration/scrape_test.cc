// What the scrapers of this field do with their default settings, with their validity rules as checks
// (compatibility rules D3 and D4 of the design; tests/support/pprof_checker.h has the rules of the format).

#include <map>
#include <set>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/pprof_checker.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// One page of a scraper's configuration, and what it must turn out to be.
struct Scraped {
  std::string path;
  Duration timeout;
  std::vector<std::pair<std::string, std::string>> types;
  std::pair<std::string, std::string> period_type;
  std::string default_type;
  bool over_time = false;  // Parca marks a profile `:delta` by its duration
};

using Types = std::vector<std::pair<std::string, std::string>>;

const Types kHeapTypes = {{"alloc_objects", "count"},
                          {"alloc_space", "bytes"},
                          {"inuse_objects", "count"},
                          {"inuse_space", "bytes"}};
const Types kCpuTypes = {{"samples", "count"}, {"cpu", "nanoseconds"}};

Scraped allocs(Duration timeout) {
  return {"/debug/pprof/allocs", timeout, kHeapTypes, {"space", "bytes"}, "alloc_space"};
}
Scraped goroutine(Duration timeout) {
  return {"/debug/pprof/goroutine",
          timeout,
          {{"goroutine", "count"}},
          {"goroutine", "count"},
          "goroutine"};
}
Scraped waits(const std::string& page, Duration timeout) {
  return {"/debug/pprof/" + page,
          timeout,
          {{"contentions", "count"}, {"delay", "nanoseconds"}},
          {"contentions", "count"},
          "delay"};
}
void contend(const Demo& demo) { Background(demo.address(), "/lock?ms=5", 4).join(); }
Scraped cpu(int seconds, Duration timeout) {
  return {"/debug/pprof/profile?seconds=" + std::to_string(seconds),
          timeout,
          kCpuTypes,
          {"cpu", "nanoseconds"},
          "cpu",
          true};
}

PprofProfile scrape(const Demo& demo, const Scraped& page,
                    std::multimap<std::string, std::string> headers) {
  INFO(page.path);
  HttpCall call;
  call.path = page.path;
  call.headers = std::move(headers);
  call.timeout = page.timeout;
  const HttpAnswer answer = http_call(demo.debug(), call);
  REQUIRE(answer.status == 200);  // 200 exactly: Parca
  REQUIRE_FALSE(answer.body.empty());
  CHECK(answer.header("Content-Type").find("application/octet-stream") == 0);  // Alloy
  CHECK(answer.header("Content-Encoding").empty());
  CHECK(answer.body.substr(0, 2) == "\x1f\x8b");
  const auto read = read_pprof(answer.body);
  REQUIRE(read);
  const PprofProfile& profile = *read;
  CHECK(check_pprof(profile) == std::vector<std::string>{});
  Types types;
  for (const PprofValueType& type : profile.sample_types) {
    types.emplace_back(profile.text(type.type), profile.text(type.unit));
  }
  CHECK(types == page.types);
  CHECK(profile.text(profile.period_type.type) == page.period_type.first);
  CHECK(profile.text(profile.period_type.unit) == page.period_type.second);
  CHECK(profile.text(profile.default_sample_type) == page.default_type);
  CHECK((profile.duration_nanos > 0) == page.over_time);
  return profile;
}

// Values by what Alloy's delta takes for a sample's identity: addresses and labels.
std::map<std::string, std::vector<std::int64_t>> by_identity(const PprofProfile& profile) {
  std::map<std::string, std::vector<std::int64_t>> values;
  for (const PprofSample& sample : profile.samples) {
    std::string key;
    for (const std::uint64_t id : sample.location_ids) {
      key += std::to_string(profile.locations.at(id - 1).address) + " ";
    }
    for (const PprofLabel& label : sample.labels) {
      key +=
          profile.text(label.key) + "=" + profile.text(label.str) + std::to_string(label.num) + " ";
    }
    values[key] = sample.values;
  }
  return values;
}

// Columns that only ever grow: Alloy subtracts them itself.
void check_monotonic(const PprofProfile& earlier, const PprofProfile& later) {
  const auto now = by_identity(later);
  for (const auto& [key, before] : by_identity(earlier)) {
    for (std::size_t i = 0; i < earlier.sample_types.size(); ++i) {
      const std::string type = earlier.text(earlier.sample_types[i].type);
      if (!type.starts_with("alloc_") && type != "contentions" && type != "delay") continue;
      if (before[i] == 0) continue;
      INFO(type << " of " << key);
      REQUIRE(now.contains(key));
      CHECK(now.at(key)[i] >= before[i]);
    }
  }
}

TEST_CASE("Parca's default scrape: every 10 s, answers within 13 s") {
  Demo demo;
  Background load(demo.address(), "/work?ms=3000", 1);
  const std::multimap<std::string, std::string> headers = {{"User-Agent", "Parca/v0.22.0"},
                                                           {"Accept-Encoding", "gzip"}};
  const PprofProfile first = scrape(demo, allocs(13s), headers);
  contend(demo);
  const PprofProfile first_mutex = scrape(demo, waits("mutex", 13s), headers);
  const PprofProfile first_block = scrape(demo, waits("block", 13s), headers);
  CHECK_FALSE(first_mutex.samples.empty());
  scrape(demo, goroutine(13s), headers);
  scrape(demo, cpu(2, 5s), headers);  // seconds + 3 s, as with its own 10 s
  REQUIRE(demo.get("/churn?n=1000000").status == 200);
  check_monotonic(first, scrape(demo, allocs(13s), headers));
  contend(demo);
  check_monotonic(first_mutex, scrape(demo, waits("mutex", 13s), headers));
  check_monotonic(first_block, scrape(demo, waits("block", 13s), headers));
  load.join();
  // A job with `params` has its seconds sent to every page.
  Scraped with_seconds = allocs(4s);
  with_seconds.path += "?seconds=1";
  with_seconds.over_time = true;
  scrape(demo, with_seconds, headers);
}

TEST_CASE(
    "Alloy's default scrape: every 15 s, answers within 10 s, profiles within seconds + 10 s") {
  Demo demo;
  const std::multimap<std::string, std::string> headers = {{"User-Agent", "Alloy/v1.5.0"}};
  PprofProfile last = scrape(demo, allocs(10s), headers);
  for (int round = 0; round < 3; ++round) {
    REQUIRE(demo.get("/churn?n=300000").status == 200);
    REQUIRE(demo.get("/alloc?kb=8192").status == 200);
    PprofProfile next = scrape(demo, allocs(10s), headers);
    check_monotonic(last, next);
    last = std::move(next);
    scrape(demo, goroutine(10s), headers);
    scrape(demo, waits("mutex", 10s), headers);
    scrape(demo, waits("block", 10s), headers);
  }
  scrape(demo, cpu(1, 11s), headers);
  // The pages of godeltaprof.
  const Scraped delta{
      "/debug/pprof/delta_heap", 10s, kHeapTypes, {"space", "bytes"}, "inuse_space"};
  scrape(demo, delta, headers);
  Scraped second = delta;
  second.over_time = true;
  scrape(demo, second, headers);
  for (const char* page : {"delta_mutex", "delta_block"}) {
    Scraped waited = waits(page, 10s);
    scrape(demo, waited, headers);
    contend(demo);
    waited.over_time = true;
    CHECK_FALSE(scrape(demo, waited, headers).samples.empty());
  }
}

TEST_CASE("every profile page in every format, and an unknown one with the list") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=8192").status == 200);
  Background load(demo.address(), "/work?ms=4000", 1);
  for (const std::string page :
       {"heap?", "allocs?", "growth?", "goroutine?", "delta_heap?", "mutex?", "mutex?by=holder&",
        "block?", "threadcreate?", "profile?seconds=1&", "wall?seconds=1&", "heap?seconds=1&"}) {
    INFO(page);
    const auto get = [&](const std::string& rest) {
      return demo.debug_get("/debug/pprof/" + page + rest);
    };
    CHECK(get("format=proto").body.substr(0, 2) == "\x1f\x8b");
    const HttpAnswer text = get("format=text");
    CHECK(text.status == 200);
    CHECK(text.header("Content-Type") == "text/plain; charset=utf-8");
    const HttpAnswer folded = get("format=folded");
    CHECK(folded.status == 200);
    CHECK(folded.header("Content-Type") == "text/plain; charset=utf-8");
    const HttpAnswer flame = get("format=flame");
    CHECK(flame.status == 200);
    CHECK(flame.header("Content-Type") == "text/html; charset=utf-8");
    CHECK(flame.header("Content-Disposition").empty());
    CHECK(flame.body.find("<canvas id=\"graph\"") != std::string::npos);
    const HttpAnswer unknown = get("format=svg");
    CHECK(unknown.status == 400);
    CHECK(unknown.body.find("proto, pprof, text, folded, flame") != std::string::npos);
  }
  load.join();
  const std::string index = demo.debug_get("/debug/pprof/").body;
  for (const char* page :
       {"heap", "allocs", "growth", "goroutine", "mutex", "block", "threadcreate"}) {
    INFO(page);
    CHECK(index.find(std::string("/debug/pprof/") + page + "?format=flame\"") != std::string::npos);
  }
  CHECK(index.find("/debug/pprof/profile?format=flame&amp;seconds=5") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
