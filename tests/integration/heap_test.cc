// The heap pages of a server that runs on tcmalloc.

#include <cmath>
#include <fstream>
#include <regex>

#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"
#include "tests/support/pprof_checker.h"
#include "tests/support/raw_client.h"

namespace vigil::test {
namespace {

constexpr double kMiB = 1 << 20;

PprofProfile profile_of(const HttpAnswer& answer) {
  INFO(answer.status << " " << answer.body.substr(0, 200));
  REQUIRE(answer.status == 200);
  auto profile = read_pprof(answer.body);
  REQUIRE(profile);
  CHECK(check_pprof(*profile) == std::vector<std::string>{});
  return *std::move(profile);
}

TEST_CASE("the heap profile names the function that keeps the memory, allocs the one that churns") {
  Demo demo;
  // 1,024 samples at one in 512 KiB: a standard deviation of 3 %.
  REQUIRE(demo.get("/alloc?kb=524288").status == 200);
  REQUIRE(demo.get("/churn?n=1000000").status == 200);
  const Finished top =
      go_pprof({"-top", "-sample_index=inuse_space", demo.debug_url("/debug/pprof/heap")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  // Flat: the allocator's own frames are not what a person looks for.
  const std::regex row(R"(\n\s*([0-9.]+)MB\s.*\sdemo::remember\n)");
  std::smatch match;
  REQUIRE(std::regex_search(top.out, match, row));
  CHECK(std::stod(match[1]) == Approx(512).epsilon(0.15));
  CHECK(demo.debug_get("/debug/pprof/heap?debug=1").body.find("heap profile: ") == 0);

  const Finished allocs = go_pprof({"-top", demo.debug_url("/debug/pprof/allocs")});
  INFO(allocs.out << allocs.err);
  CHECK(allocs.out.find("Type: alloc_space") != std::string::npos);
  CHECK(allocs.out.find("demo::churn") != std::string::npos);
}

TEST_CASE("heap and allocs have Go's four columns, growth says where the memory came from") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=262144").status == 200);
  const PprofProfile heap = profile_of(demo.debug_get("/debug/pprof/heap"));
  const PprofProfile allocs = profile_of(demo.debug_get("/debug/pprof/allocs"));
  for (const PprofProfile* profile : {&heap, &allocs}) {
    REQUIRE(profile->sample_types.size() == 4);
    CHECK(profile->text(profile->sample_types[0].type) == "alloc_objects");
    CHECK(profile->text(profile->sample_types[1].type) == "alloc_space");
    CHECK(profile->text(profile->sample_types[2].type) == "inuse_objects");
    CHECK(profile->text(profile->sample_types[3].type) == "inuse_space");
    CHECK(profile->text(profile->period_type.type) == "space");
    CHECK(profile->period == 512 * 1024);
    CHECK(profile->duration_nanos == 0);
  }
  CHECK(heap.text(heap.default_sample_type) == "inuse_space");
  CHECK(allocs.text(allocs.default_sample_type) == "alloc_space");
  CHECK(static_cast<double>(pprof_total(heap, "alloc_space", "demo::remember")) ==
        Approx(256 * kMiB).epsilon(0.2));
  const PprofProfile growth = profile_of(demo.debug_get("/debug/pprof/growth"));
  CHECK(static_cast<double>(pprof_total(growth, "space", "demo::remember")) > 200 * kMiB);
}

TEST_CASE("heap?seconds=N: what was allocated in that time, and all that is in use") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=131072").status == 200);
  Background delta(demo.debug(), "/debug/pprof/heap?seconds=3", 1);
  // The delta has begun when its task waits; the churn then is inside it.
  demo.debug_get_until("/debug/pprof/goroutine?debug=2", "difference_page");
  REQUIRE(demo.get("/churn?n=4000000").status == 200);
  const HttpAnswer answer = delta.join().at(0);
  CHECK(answer.header("Content-Disposition") == "attachment; filename=\"heap-delta\"");
  const PprofProfile heap = profile_of(answer);
  CHECK(heap.duration_nanos >= 3'000'000'000);
  CHECK(heap.duration_nanos < 6'000'000'000);
  CHECK(pprof_total(heap, "alloc_space", "demo::remember") == 0);
  CHECK(static_cast<double>(pprof_total(heap, "inuse_space", "demo::remember")) ==
        Approx(128 * kMiB).epsilon(0.25));
  CHECK(pprof_total(heap, "alloc_objects", "demo::churn") > 3'000'000);
}

TEST_CASE("go tool pprof -diff_base shows what a heap has grown by") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=131072").status == 200);
  const TemporaryFolder folder;
  const std::string base = folder.path / "base.pb.gz";
  {
    std::ofstream file(base, std::ios::binary);
    file << demo.debug_get("/debug/pprof/heap").body;
    REQUIRE(file.flush());
  }
  REQUIRE(demo.get("/alloc?kb=524288").status == 200);
  const Finished top = go_pprof({"-top", "-sample_index=inuse_space", "-unit=MB",
                                 "-diff_base=" + base, demo.debug_url("/debug/pprof/heap")});
  INFO(top.out << top.err);
  REQUIRE(top.exit_status == 0);
  const std::regex row(R"(\n\s*([0-9.]+)MB\s.*\sdemo::remember\n)");
  std::smatch match;
  REQUIRE(std::regex_search(top.out, match, row));
  CHECK(std::stod(match[1]) == Approx(512).epsilon(0.15));
}

TEST_CASE("delta_heap: each client its own baseline") {
  Demo demo;
  const auto churned = [&](const std::string& query) {
    const PprofProfile profile = profile_of(demo.debug_get("/debug/pprof/delta_heap" + query));
    return pprof_total(profile, "alloc_objects", "demo::churn");
  };
  REQUIRE(demo.get("/churn?n=4000000").status == 200);
  CHECK(churned("?id=a") == 0);  // nothing is known of what came before
  REQUIRE(demo.get("/churn?n=4000000").status == 200);
  CHECK(churned("?id=a") == Approx(4e6).epsilon(0.2));
  CHECK(churned("?id=a") == 0);
  CHECK(churned("?id=b") == 0);
  CHECK(churned("") == 0);
  REQUIRE(demo.get("/churn?n=4000000").status == 200);
  CHECK(churned("") == Approx(4e6).epsilon(0.2));  // the same client, on another connection
  CHECK(churned("?id=b") == Approx(4e6).epsilon(0.2));
  CHECK(demo.debug_get("/debug/pprof/delta_heap").header("Content-Disposition") ==
        "attachment; filename=\"heap.pprof.gz\"");
}

TEST_CASE("gc=1 gives free memory back to the system") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=262144").status == 200);
  HttpCall free_all;
  free_all.method = "DELETE";
  free_all.path = "/alloc";
  REQUIRE(http_call(demo.address(), free_all).status == 200);
  const std::size_t before = resident_bytes(demo.process().pid());
  REQUIRE(demo.debug_get("/debug/pprof/heap?gc=1").status == 200);
  const std::size_t after = resident_bytes(demo.process().pid());
  INFO(before / kMiB << " MiB, then " << after / kMiB);
  CHECK(after + 100 * kMiB < before);
}

TEST_CASE("a client that goes away during a delta ends it") {
  Demo demo;
  {
    RawClient client(demo.debug());
    REQUIRE(client.send("GET /debug/pprof/heap?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    demo.debug_get_until("/debug/pprof/goroutine?debug=2", "difference_page");
  }
  std::string dump;
  for (int i = 0; i < 100; ++i) {
    dump = demo.debug_get("/debug/pprof/goroutine?debug=2").body;
    if (dump.find("difference_page") == std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  CHECK(dump.find("difference_page") == std::string::npos);
}

TEST_CASE("with heap_sample_bytes=0 the heap pages are 501 with the reason") {
  Demo demo({"--heap-sample=0"});
  for (const char* path : {"/debug/pprof/heap", "/debug/pprof/allocs", "/debug/pprof/growth",
                           "/debug/pprof/delta_heap", "/pprof/heap", "/pprof/growth"}) {
    INFO(path);
    const HttpAnswer answer = demo.debug_get(path);
    CHECK(answer.status == 501);
    CHECK(answer.header("X-Go-Pprof") == "1");
    CHECK(answer.body.find("switched off") != std::string::npos);
  }
}

}  // namespace
}  // namespace vigil::test
