// Parameters of captures, the gate that they pass, and the totals that they leave.
#include <vector>

#include "base/fake_clock.h"
#include "endpoints/capture_gate.h"
#include "endpoints/capture_parameters.h"
#include "endpoints/profile_totals.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

using namespace std::chrono_literals;

PageRequest request_of(std::string_view query) {
  PageRequest request;
  request.query = http::QueryParams::parse(query);
  return request;
}

struct Parameters {
  FakeClock clock;
  leakwatch::TaskRegistry tasks{clock};

  Result<sampler::SampleOptions> read(std::string_view query) {
    return sample_parameters(request_of(query), tasks);
  }
};

TEST_CASE_METHOD(Parameters, "routes add up, and min_latency is a duration") {
  const auto none = read("");
  REQUIRE(none);
  CHECK_FALSE(none->has_filter());
  const auto both = read("route=/search&min_latency=250ms&route=GET%20/x/{id}");
  REQUIRE(both);
  CHECK(both->routes == std::vector<std::string>{"/search", "GET /x/{id}"});
  CHECK(both->min_latency == 250ms);
  CHECK(read("min_latency=1ns")->min_latency == 1ns);
  CHECK(read("min_latency=24h")->min_latency == 24h);
}

TEST_CASE_METHOD(Parameters, "labels are chosen by key, all or none") {
  using Kind = sampler::LabelChoice::Kind;
  CHECK(read("")->labels.kind == Kind::kUsual);
  CHECK(read("labels=all")->labels.kind == Kind::kAll);
  CHECK(read("labels=none")->labels.kind == Kind::kNone);
  const auto only = read("labels=route,tenant");
  CHECK(only->labels.kind == Kind::kOnly);
  CHECK(only->labels.keys == std::vector<std::string>{"route", "tenant"});
}

TEST_CASE_METHOD(Parameters, "bad values are refused with a sentence that names the parameter") {
  const auto refused = [&](std::string_view query, std::string_view parameter) {
    INFO(query);
    const auto options = read(query);
    REQUIRE_FALSE(options);
    CHECK(options.error().code() == ErrorCode::kInvalidArgument);
    CHECK(options.error().message().find("\"" + std::string(parameter) + "\"") !=
          std::string::npos);
  };
  refused("route=", "route");
  refused("route=/a&route=", "route");
  for (const char* value : {"", "0", "0s", "-1s", "250", "x", "25h", "1ms2"}) {
    refused("min_latency=" + std::string(value), "min_latency");
  }
  for (const char* value : {"", "a,,b", ",a", "a,"}) {
    refused("labels=" + std::string(value), "labels");
  }
  for (const char* value : {"", "0", "1001", "-1", "x", "1.5", "99999999999"}) {
    const auto hz = hz_parameter(request_of("hz=" + std::string(value)), 1, 1000);
    REQUIRE_FALSE(hz);
    CHECK(hz.error().code() == ErrorCode::kInvalidArgument);
    CHECK(hz.error().message() == "invalid value for \"hz\" - must be an integer from 1 to 1000");
  }
  CHECK(*hz_parameter(request_of("hz=1"), 1, 1000) == 1);
  CHECK(*hz_parameter(request_of("hz=1000"), 1, 1000) == 1000);
  CHECK(*hz_parameter(request_of(""), 1, 1000) == std::nullopt);
}

TEST_CASE_METHOD(Parameters, "a task is alive if its number and its start are in the registry") {
  const auto options = read("min_latency=1s");
  REQUIRE(options);
  std::uint64_t id = 0;
  const MonotonicTime started = clock.now();
  {
    const leakwatch::Task task(tasks, tasks.intern("x"));
    id = static_cast<std::uint64_t>(task.id());
    CHECK(options->is_live(id, started));
    CHECK_FALSE(options->is_live(id, started + 1ns));
    CHECK_FALSE(options->is_live(id + 1, started));
    CHECK_FALSE(options->is_live(0, started));
  }
  CHECK_FALSE(options->is_live(id, started));
}

TEST_CASE("as many captures as the cap run at once, the next is refused and counted") {
  CaptureGate gate;
  std::vector<CaptureGate::Pass> passes;
  for (int i = 0; i < CaptureGate::kCapturesMax; ++i) {
    auto pass = gate.enter();
    REQUIRE(pass);
    passes.push_back(*std::move(pass));
  }
  const auto refused = gate.enter();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kBusy);
  CHECK(refused.error().message().find("8") != std::string::npos);
  CHECK(gate.refused() == 1);
  CHECK(gate.running() == CaptureGate::kCapturesMax);
  passes.pop_back();
  CHECK(gate.enter());
  passes.clear();
  CHECK(gate.running() == 0);
}

TEST_CASE("totals add up by profile, losses apart from the collector's CPU") {
  sampler::StackProfile profile;
  profile.name = "profile";
  profile.samples.push_back({{}, {3, 30}, {}});
  profile.samples.push_back({{}, {4, 40}, {}});
  profile.counters = {{"samples_lost", 2}, {"collector_cpu_ns", 100}, {"samples_filtered", 9}};
  ProfileTotals totals;
  totals.add(profile);
  totals.add(profile);
  profile.name = "wall";
  totals.add(profile);
  const auto read = totals.read();
  CHECK(read.size() == 2);
  CHECK(read.at("profile").profiles == 2);
  CHECK(read.at("profile").samples == 14);
  CHECK(read.at("profile").collector_cpu_ns == 200);
  CHECK(read.at("profile").losses.size() == 1);
  CHECK(read.at("profile").losses.at("samples_lost") == 4);
  CHECK(read.at("wall").profiles == 1);
}

TEST_CASE("of a profile that counts since the start, totals have only that it was taken") {
  sampler::StackProfile profile;
  profile.name = "heap";
  profile.samples.push_back({{}, {3, 30}, {}});
  profile.counters = {{"samples_lost", 2}, {"collector_cpu_ns", 100}};
  profile.counter_span = sampler::CounterSpan::kSinceStart;
  ProfileTotals totals;
  totals.add(profile);
  totals.add(profile);
  const auto heap = totals.read().at("heap");
  CHECK(heap.profiles == 2);
  CHECK(heap.samples == 0);
  CHECK(heap.collector_cpu_ns == 0);
  CHECK(heap.losses.empty());
}

}  // namespace
}  // namespace vigil::endpoints
