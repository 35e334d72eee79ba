// P7.1, P7.10, P7.11: where the debug pages are served, to whom, and what a taken port does.
#include "agent/debug_listener.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include "leakwatch/task_registry.h"
#include "server-core/unix_listener.h"
#include "tests/support/catch.h"
#include "tests/support/raw_client.h"
#include "tests/support/recording_sink.h"
#include "tests/support/temporary_folder.h"

using namespace std::chrono_literals;

namespace vigil::test {
namespace {

constexpr const char* kToken = "0123456789abcdef-test";

// An agent of this process, with the parts it wants.
struct Process {
  Result<std::unique_ptr<Agent>> start(const AgentOptions& options) {
    return Agent::start(options, tasks, sink, clock);
  }
  bool logged(const std::string& text) const {
    for (const std::string& line : sink.lines()) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }
  SystemClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry tasks{clock};
};

AgentOptions options_at(const HostPort& listen) {
  AgentOptions options;
  options.debug_listen = listen;
  options.heap_sample_bytes = 0;
  return options;
}

AgentOptions exposed_at(const char* host) {
  AgentOptions options = options_at({host, 0});
  options.debug_reach = AgentOptions::DebugReach::kOtherMachines;
  options.debug_token = kToken;
  return options;
}

// Somebody who listens on a port of 127.0.0.1, chosen by the kernel.
struct TakenPort {
  TakenPort() : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(socket.get(), raw, size) == 0);
    REQUIRE(::listen(socket.get(), 1) == 0);
    REQUIRE(::getsockname(socket.get(), raw, &size) == 0);
    endpoint = {"127.0.0.1", ntohs(address.sin_port)};
  }
  UniqueFd socket;
  HostPort endpoint;
};

std::string request_with(const std::string& fields, const std::string& target = "/healthz",
                         const std::string& host = "localhost") {
  return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n";
}

int status_of(RawClient& client, const std::string& request) {
  client.send(request);
  return client.read_response().status;
}

ErrorCode code_of(const AgentOptions& options) {
  const Result<void> checked = check_debug_reach(options);
  REQUIRE_FALSE(checked.ok());
  return checked.error().code();
}

}  // namespace

TEST_CASE("P7.1 an address that others reach needs both the option and a token") {
  for (const char* host : {"0.0.0.0", "::", "10.1.2.3", "::ffff:10.1.2.3", "128.0.0.1"}) {
    INFO(host);
    CHECK(code_of(options_at({host, 6060})) == ErrorCode::kPermissionDenied);
    AgentOptions options = exposed_at(host);
    CHECK(check_debug_reach(options).ok());
    options.debug_token.clear();
    CHECK(code_of(options) == ErrorCode::kPermissionDenied);
    options = exposed_at(host);
    options.debug_reach = AgentOptions::DebugReach::kThisMachine;
    CHECK(code_of(options) == ErrorCode::kPermissionDenied);
  }
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1"}) {
    CHECK(check_debug_reach(options_at({host, 6060})).ok());
  }
}

TEST_CASE("P7.1 somewhere to listen, and a token that is one") {
  AgentOptions options = options_at({"", 0});
  CHECK(code_of(options) == ErrorCode::kInvalidArgument);
  options.debug_unix = "/run/x";
  CHECK(check_debug_reach(options).ok());
  options.debug_token = "short";
  CHECK(code_of(options) == ErrorCode::kInvalidArgument);
}

TEST_CASE("P7.10 with a token each request of a connection needs it, and the log has a warning") {
  Process process;
  const auto agent = process.start(exposed_at("0.0.0.0"));
  REQUIRE(agent.ok());
  CHECK(process.logged("\"level\":\"warn\""));
  CHECK(process.logged("reachable from other machines"));
  for (const std::string& line : process.sink.lines()) {
    CHECK(line.find(kToken) == std::string::npos);
  }
  const std::string right = "Authorization: Bearer " + std::string(kToken) + "\r\n";
  RawClient client(HostPort{"127.0.0.1", (*agent)->debug_endpoint().port});
  CHECK(status_of(client, request_with(right)) == 200);
  CHECK(status_of(client, request_with("")) == 401);  // the same connection
  CHECK(status_of(client, request_with(right)) == 200);
  CHECK(status_of(client, request_with("Authorization: Bearer wrong\r\n")) == 401);
  CHECK(status_of(client, request_with("", std::string("/healthz?token=") + kToken)) == 401);
  // Whoever has the token may call the machine by any name.
  CHECK(status_of(client, request_with(right, "/healthz", "search-7.internal:6060")) == 200);
  CHECK(status_of(client, request_with(right + "Origin: http://evil.example\r\n")) == 403);

  client.send(request_with(""));
  const RawResponse refused = client.read_response();
  CHECK(refused.header("www-authenticate") == "Bearer");
  CHECK(refused.body.find(kToken) == std::string::npos);
}

TEST_CASE("P7.1 the Unix socket alone, or beside the port, without a token") {
  Process process;
  TemporaryFolder folder;
  AgentOptions options = options_at({"127.0.0.1", 0});
  options.debug_unix = folder / "debug.sock";
  options.debug_token = kToken;
  SECTION("alone") { options.debug_listen.host.clear(); }
  SECTION("both") {}
  const auto agent = process.start(options);
  REQUIRE(agent.ok());
  RawClient through_socket(options.debug_unix);
  CHECK(status_of(through_socket, request_with("")) == 200);
  CHECK(status_of(through_socket, request_with("", "/healthz", "anything")) == 200);
  CHECK(status_of(through_socket, request_with("Origin: http://evil.example\r\n")) == 403);
  const std::uint16_t port = (*agent)->debug_endpoint().port;
  CHECK((port == 0) == options.debug_listen.host.empty());
  if (port == 0) return;
  RawClient through_port(HostPort{"127.0.0.1", port});
  CHECK(status_of(through_port, request_with("")) == 401);
}

TEST_CASE("P7.11 a port that is taken: fail, the next free one, any") {
  using PortTaken = AgentOptions::PortTaken;
  Process process;
  const TakenPort taken;
  AgentOptions options = options_at(taken.endpoint);
  SECTION("fail") {
    const auto agent = process.start(options);
    REQUIRE_FALSE(agent.ok());
    CHECK(agent.error().code() == ErrorCode::kBusy);
    CHECK(process.sink.lines().empty());
  }
  SECTION("the next free one") {
    options.debug_port_taken = PortTaken::kNextFree;
    const auto agent = process.start(options);
    REQUIRE(agent.ok());
    const int port = (*agent)->debug_endpoint().port;
    CHECK(port > taken.endpoint.port);
    CHECK(port < taken.endpoint.port + kDebugPortsTried);
    CHECK(process.logged("taken"));
    CHECK(process.logged(format_host_port(taken.endpoint)));
  }
  SECTION("any") {
    options.debug_port_taken = PortTaken::kAnyFree;
    const auto agent = process.start(options);
    REQUIRE(agent.ok());
    CHECK((*agent)->debug_endpoint().port != taken.endpoint.port);
    CHECK((*agent)->debug_endpoint().port != 0);
    CHECK(process.logged("taken"));
  }
  SECTION("a free port is not logged") {
    options.debug_listen.port = 0;
    options.debug_port_taken = PortTaken::kNextFree;
    REQUIRE(process.start(options).ok());
    CHECK_FALSE(process.logged("taken"));
  }
}

TEST_CASE("P7.11 a Unix socket that is in use is not helped by another port") {
  Process process;
  TemporaryFolder folder;
  const auto holder = http::UnixListener::open(folder / "s", 1);
  REQUIRE(holder.ok());
  AgentOptions options = options_at({"127.0.0.1", 0});
  options.debug_unix = folder / "s";
  options.debug_port_taken = AgentOptions::PortTaken::kNextFree;
  const auto agent = process.start(options);
  REQUIRE_FALSE(agent.ok());
  CHECK(agent.error().code() == ErrorCode::kBusy);
  CHECK(agent.error().message().find("somebody listens there") != std::string::npos);
}

TEST_CASE("debug pages as a function of strings: the guard, methods, HEAD, unknown paths") {
  Process process;
  const auto agent = process.start(options_at({"127.0.0.1", 0}));
  REQUIRE(agent.ok());
  const DebugRequest::Field host[] = {{"host", "localhost:8080"}};
  const DebugRequest::Field evil[] = {{"Host", "evil.example"}};
  const auto page = [&](const DebugRequest& request) { return (*agent)->debug_page(request); };
  const auto header = [](const DebugResponse& response, const std::string& name) {
    for (const auto& [each, value] : response.headers) {
      if (each == name) return value;
    }
    return std::string();
  };
  const auto get = [&](const char* target) {
    return page({.target = target, .headers = host, .peer = "127.0.0.1"});
  };
  CHECK(get("/healthz").body == "ok\n");
  CHECK(get("/debug/").status == 200);
  CHECK(get("/debug/pprof/").status == 200);
  CHECK(header(get("/debug/"), "Content-Type") == "text/html; charset=utf-8");
  CHECK(header(get("/debug/pprof/goroutine"), "Content-Disposition") ==
        "attachment; filename=\"goroutine\"");
  CHECK(header(get("/healthz"), "X-Content-Type-Options") == "nosniff");
  CHECK(get("/debug/pprof/goroutine?debug=1").body.find("goroutine profile: total") == 0);
  CHECK(get("/debug/pprof/nope").body == "Unknown profile\n");
  CHECK(get("/nope").status == 404);
  CHECK(get("").status == 404);
  CHECK(get("/debug/pprof/profile?seconds=0").status == 400);

  CHECK(
      page({.method = "HEAD", .target = "/healthz", .headers = host, .peer = "::1"}).body.empty());
  const auto posted =
      page({.method = "POST", .target = "/debug/tasks", .headers = host, .peer = "::1"});
  CHECK(posted.status == 405);
  CHECK(header(posted, "Allow") == "GET, HEAD");
  CHECK(page({.method = "POST",
              .target = "/debug/pprof/symbol",
              .headers = host,
              .body = "0x1",
              .peer = "::1"})
            .body == "num_symbols: 1\n");

  CHECK(page({.target = "/healthz", .headers = evil, .peer = "127.0.0.1"}).status == 403);
  CHECK(page({.target = "/healthz", .headers = {}, .peer = "127.0.0.1"}).status == 403);
  CHECK(page({.target = "/healthz", .headers = host, .peer = "10.0.0.1"}).status == 403);
  CHECK(page({.target = "/healthz", .headers = host, .peer = ""}).status == 403);
}

}  // namespace vigil::test
