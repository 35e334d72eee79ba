// `go tool pprof` reads our profiles: proto, and the debug=1 texts.
#include <fstream>
#include <string>
#include <vector>

#include "sampler/heap_profiler.h"
#include "sampler/pprof_encoder.h"
#include "sampler/profile_text.h"
#include "tests/sampler/profile_samples.h"
#include "tests/support/catch.h"
#include "tests/support/go_pprof.h"

namespace vigil::sampler {
namespace {

using namespace profile_test;

// Runs `go tool pprof` with `arguments` on a file with `body`; what it said on both streams. Its success is checked.
std::string pprof(std::vector<std::string> arguments, const std::string& body) {
  const test::TemporaryFolder folder;
  const std::string file = folder.path / "profile";
  std::ofstream(file, std::ios::binary) << body;
  arguments.push_back(file);
  const test::Finished finished = test::go_pprof(std::move(arguments));
  const std::string output = finished.out + finished.err;
  INFO(output);
  CHECK(finished.exit_status == 0);
  return output;
}

bool contains(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

Profile cpu_of_this_program() {
  StackProfile in = cpu_profile();
  in.counters = {{"samples_lost", 3}};
  in.samples = {sample({in_leaf(), in_root()}, {75, 750'000'000}, {text_label("route", "GET /w")}),
                sample({in_root()}, {25, 250'000'000})};
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  return build_profile(in, *module_table(), symbolizer->get());
}

Profile heap_of_this_program() {
  HeapBucket bucket;
  bucket.stack = {{in_leaf(), in_root()}, StackEnd::kComplete};
  bucket.bytes = 1000;
  bucket.alloc_objects = 150;
  bucket.inuse_objects = 100;
  StackProfile in = heap_profile_of(std::span(&bucket, 1), 512 * 1024, HeapColumns::kAllocAndInuse);
  in.start = WallTime(std::chrono::seconds(1'700'000'000));
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  return build_profile(in, *module_table(), symbolizer->get());
}

}  // namespace

TEST_CASE("go tool pprof -top: names, shares and no work of its own") {
  const std::string top = pprof({"-top"}, encode_pprof(cpu_of_this_program()));
  INFO(top);
  CHECK(contains(top, "Type: cpu"));
  CHECK(contains(top, "Duration: 5s"));
  CHECK(contains(top, "750ms 75.00%"));
  CHECK(contains(top, "vigil::sampler::profile_test::leaf"));
  CHECK(contains(top, "250ms 25.00%"));
  CHECK(contains(top, "vigil::sampler::profile_test::root"));
}

TEST_CASE("go tool pprof -raw: the message as sent") {
  const std::string raw = pprof({"-raw"}, encode_pprof(cpu_of_this_program()));
  INFO(raw);
  CHECK(contains(raw, "PeriodType: cpu nanoseconds"));
  CHECK(contains(raw, "Period: 10000000"));
  CHECK(contains(raw, "samples/count cpu/nanoseconds[dflt]"));
  CHECK(contains(raw, "vigil: samples_lost=3"));
  CHECK(contains(raw, "route:[GET /w]"));
  CHECK(contains(raw, "test-pprof-client"));
}

TEST_CASE("go tool pprof: the heap, as proto and as text, has the same total") {
  const Profile profile = heap_of_this_program();
  const std::string proto = pprof({"-top", "-unit=bytes"}, encode_pprof(profile));
  const std::string text =
      pprof({"-top", "-unit=bytes", "-sample_index=inuse_space"}, render_debug_text(profile));
  INFO(proto << text);
  CHECK(contains(proto, "Type: inuse_space"));
  // 100 samples, each for 524,788 bytes. Rounding in the text's rows costs less than one in a
  // thousand.
  CHECK(contains(proto, "52478816B, 100%"));
  CHECK(contains(text, "5247881"));  // the names are lost: the text has no mappings
  CHECK(contains(text, "B, 100% of"));
}

TEST_CASE("go tool pprof: waits, as proto and as the texts of mutex and block, are the same") {
  for (const std::string name : {"mutex", "block"}) {
    StackProfile collected = cpu_profile();
    collected.name = name;
    collected.sample_types = {{"contentions", "count"}, {"delay", "nanoseconds"}};
    collected.default_sample_type = "delay";
    collected.period_type = {"contentions", "count"};
    collected.period = 1;
    collected.samples = {sample({in_leaf(), in_root()}, {8, 800'000'000}),
                         sample({in_root()}, {2, 200'000'000})};
    collected.counters["samples_lost"] = 3;
    auto symbolizer = Symbolizer::create({});
    REQUIRE(symbolizer);
    const Profile profile = build_profile(collected, *module_table(), symbolizer->get());
    for (const std::string& body : {encode_pprof(profile), render_debug_text(profile)}) {
      const std::string top = pprof({"-top", "-unit=ms"}, body);
      INFO(top);
      CHECK(contains(top, "Type: delay"));
      CHECK(contains(top, "1000ms, 100% of 1000ms total"));
      const std::string counts = pprof({"-top", "-sample_index=contentions"}, body);
      INFO(counts);
      CHECK(contains(counts, "10, 100% of 10 total"));
    }
  }
}

TEST_CASE("go tool pprof: tasks as text") {
  StackProfile in;
  in.name = "goroutine";
  in.sample_types = {{"goroutine", "count"}};
  in.default_sample_type = "goroutine";
  in.period_type = {"goroutine", "count"};
  in.period = 1;
  in.samples = {sample({in_leaf(), in_root()}, {200}), sample({in_root()}, {2})};
  const Profile profile = build_profile(in, *module_table(), nullptr);
  const std::string raw = pprof({"-raw"}, render_debug_text(profile));
  INFO(raw);
  CHECK(contains(raw, "goroutine/count"));
  CHECK(contains(raw, "200: 1 2"));
}

}  // namespace vigil::sampler
