// Coroutines that wait on no thread, in the goroutine page of an agent in this process.
#include <string>
#include <vector>

#include "leakwatch/coroutine.h"
#include "tests/agent/with_agent.h"
#include "tests/leakwatch/hand_executor.h"
#include "tests/support/catch.h"
#include "tests/support/go_pprof.h"
#include "tests/support/http_client.h"
#include "tests/support/pprof_checker.h"

namespace vigil::test {

// Outside the unnamed namespace: their names are what is tested.
namespace shop {

using leakwatch::Coroutine;
using leakwatch::HandExecutor;

Coroutine<int> price_of(HandExecutor& executor) {
  co_await executor.turn();
  co_return 100;
}
constexpr int kPriceLine = __LINE__ - 3;

Coroutine<> checkout(HandExecutor& executor, int& paid) {
  const int price = co_await price_of(executor);
  paid = price;
}
constexpr int kCheckoutLine = __LINE__ - 3;

}  // namespace shop

namespace {

constexpr const char* kPage = "/debug/pprof/goroutine";
constexpr const char* kPriceOf = "vigil::test::shop::price_of";

struct Shop : WithAgent {
  ~Shop() {
    while (executor.run_one()) continue;
  }
  void spawn_waiting(const char* label, int count) {
    for (int i = 0; i < count; ++i) {
      spawn(tasks, tasks.intern(label), shop::checkout(executor, paid), [](std::exception_ptr) {});
    }
  }
  std::string page(const std::string& query) const {
    const HttpAnswer answer = http_get(agent->debug_endpoint(), kPage + query);
    REQUIRE(answer.status == 200);
    return answer.body;
  }
  PprofProfile profile(const std::string& query = "") const {
    const auto read = read_pprof(page(query));
    REQUIRE(read.ok());
    CHECK(check_pprof(*read).empty());
    return *read;
  }
  std::int64_t waiting_in(const std::string& query) const {
    return pprof_total(profile(query), "goroutine", kPriceOf);
  }
  leakwatch::HandExecutor executor;
  int paid = 0;
};

// "function line; function line", innermost first, of the one sample whose leaf is `leaf`.
std::string chain_from(const PprofProfile& profile, const std::string& leaf) {
  std::vector<std::string> chains;
  for (const PprofSample& sample : profile.samples) {
    std::string chain;
    for (const std::uint64_t id : sample.location_ids) {
      for (const PprofLine& line : profile.locations.at(id - 1).lines) {
        chain += chain.empty() ? "" : "; ";
        chain += profile.text(profile.functions.at(line.function_id - 1).name) + " " +
                 std::to_string(line.line);
      }
    }
    if (chain.starts_with(leaf)) chains.push_back(chain);
  }
  return chains.size() == 1 ? chains.front() : std::to_string(chains.size()) + " samples";
}

}  // namespace

TEST_CASE("a coroutine that waits is in the binary goroutine profile, with who awaits it") {
  Shop shop;
  shop.spawn_waiting("GET /checkout", 3);
  const PprofProfile profile = shop.profile();
  CHECK(chain_from(profile, kPriceOf) ==
        "vigil::test::shop::price_of " + std::to_string(shop::kPriceLine) +
            "; vigil::test::shop::checkout " + std::to_string(shop::kCheckoutLine));
  CHECK(pprof_total(profile, "goroutine", "vigil::test::shop::checkout") == 3);
  // The threads are there as before.
  CHECK(pprof_total(profile, "goroutine", "main") == 1);

  REQUIRE(shop.executor.run_one());
  CHECK(shop.waiting_in("") == 2);
}

TEST_CASE("filters, labels and differences know coroutines that wait") {
  Shop shop;
  shop.spawn_waiting("GET /checkout", 2);
  shop.spawn_waiting("GET /other", 1);
  CHECK(shop.waiting_in("?route=/checkout") == 2);
  CHECK(shop.waiting_in("?route=/none") == 0);
  CHECK(shop.waiting_in("?min_latency=1h") == 0);
  // None came and none went: the two snapshots name the places alike.
  CHECK(chain_from(shop.profile("?seconds=1"), kPriceOf) == "0 samples");
  const std::string dump = shop.page("?debug=2&route=/checkout");
  CHECK(dump.find("labels:{\"method\":\"GET\",\"route\":\"/checkout\"}") != std::string::npos);
  CHECK(dump.find("/other") == std::string::npos);
}

TEST_CASE("go tool pprof shows coroutines that wait, with their route") {
  Shop shop;
  shop.spawn_waiting("GET /checkout", 4);
  const HostPort at = shop.agent->debug_endpoint();
  const Finished raw = go_pprof({"-raw", "http://127.0.0.1:" + std::to_string(at.port) + kPage});
  INFO(raw.out << raw.err);
  REQUIRE(raw.exit_status == 0);
  CHECK(raw.out.find("method:[GET] route:[/checkout]") != std::string::npos);
  CHECK(raw.out.find(kPriceOf) != std::string::npos);
  CHECK(raw.out.find("coroutine_profile_test.cc:" + std::to_string(shop::kPriceLine)) !=
        std::string::npos);
}

}  // namespace vigil::test
