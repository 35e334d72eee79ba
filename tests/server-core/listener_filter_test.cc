// PUB-3: the wrappers of the listener.
#include "server-core/listener_filter.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using Time = std::chrono::steady_clock;
using http::LimitPolicy;
using http::ListenerFilter;
using http::PeerAddress;

namespace {

// Counts what it is told, and answers what it is set to.
class Recorder final : public ListenerFilter {
 public:
  bool may_accept() override { return accepts; }
  Verdict on_accept(const PeerAddress&) override {
    ++asked;
    if (throws) throw std::runtime_error("a filter's own trouble");
    return verdict;
  }
  void on_close(const PeerAddress&) noexcept override { ++closed; }

  std::atomic<bool> accepts{true};
  std::atomic<bool> throws{false};
  std::atomic<Verdict> verdict{Verdict::kAdmit};
  std::atomic<int> asked{0};
  std::atomic<int> closed{0};
};

http::ServerOptions with_filters(std::vector<std::shared_ptr<ListenerFilter>> filters) {
  http::ServerOptions options = test_options();
  options.listener_filters = std::move(filters);
  return options;
}

}  // namespace

TEST_CASE("listener filters: the outer one hears of all, the inner of what it lets through") {
  const auto outer = std::make_shared<Recorder>();
  const auto inner = std::make_shared<Recorder>();
  TestServer server(with_filters({outer, inner}));
  CHECK(server.get("/hello") == "200 hello\n");
  CHECK(eventually([&] { return inner->closed == 1; }));
  CHECK(outer->closed == 1);

  inner->verdict = ListenerFilter::Verdict::kRefuse;
  RawClient refused = server.connect();
  CHECK(refused.read_response().status == 503);
  CHECK(eventually([&] { return outer->closed == 2; }));
  CHECK(inner->closed == 1);

  outer->verdict = ListenerFilter::Verdict::kDrop;
  CHECK(server.connect().closed_within(5s));
  CHECK(inner->asked == 2);
  CHECK(outer->asked == 3);
  CHECK(outer->closed == 2);
  CHECK(server.stats().limits_hit.filters == 2);
}

TEST_CASE("listener filters: one that throws drops the newcomer, and the server goes on") {
  const auto outer = std::make_shared<Recorder>();
  const auto filter = std::make_shared<Recorder>();
  TestServer server(with_filters({outer, filter}));
  filter->throws = true;
  CHECK(server.connect().closed_within(5s));
  filter->throws = false;
  CHECK(server.get("/hello") == "200 hello\n");
  CHECK(eventually([&] { return outer->closed == 2; }));
}

TEST_CASE(
    "listener filters: one that will not accept leaves newcomers waiting, and is asked again") {
  const auto filter = std::make_shared<Recorder>();
  filter->accepts = false;
  TestServer server(with_filters({filter}));
  RawClient client = server.connect();
  client.send(get_request("/hello"));
  REQUIRE(eventually([&] { return server.stats().limits_hit.accept_pauses >= 1; }));
  CHECK_FALSE(client.receive(50ms));
  filter->accepts = true;
  const auto begin = Time::now();
  CHECK(client.read_response().status == 200);
  CHECK(Time::now() - begin < 2s);
}

TEST_CASE("listener filters: one limit for two servers, and a log of who comes and goes") {
  QuietSink log;
  const auto limit = std::make_shared<http::ConnectionLimit>(1, LimitPolicy::kReject);
  const auto accept_log = std::make_shared<http::AcceptLog>(log);
  TestServer first(with_filters({accept_log, limit}));
  TestServer second(with_filters({limit}));
  RawClient client = first.connect_idle();
  RawClient refused = second.connect();
  CHECK(refused.read_response().status == 503);
  CHECK(log.saw("\"msg\":\"connection accepted\",\"peer\":\"127.0.0.1:"));
  CHECK_FALSE(log.saw("connection closed"));
  client.close();
  CHECK(eventually([&] { return log.saw("connection closed"); }));
  CHECK(eventually([&] { return second.get("/hello") == "200 hello\n"; }));
}
