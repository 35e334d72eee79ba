// The shutdown matrix's last column: one process with a client in every state that a connection can be
// in, and a second signal. The first two columns: server-core/shutdown_matrix_test.cc.
#include <csignal>
#include <deque>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/http2_client.h"
#include "tests/support/raw_client.h"
#include "tests/support/websocket_client.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// What a client has sent when it is in the state of that name.
struct State {
  const char* name;
  std::string sent;
};

const State kStates[] = {
    {"new", ""},
    {"head", "GET /hello HTTP/1.1\r\nHost:"},
    {"body", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello"},
    {"streamed body", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nhello"},
    {"handling", "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n"},
    {"writing", "GET /big?n=100000000 HTTP/1.1\r\nHost: x\r\n\r\n"},
    {"idle", "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"},
    {"hijacked",
     "GET /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: line-echo\r\n\r\n"},
    {"WebSocket", upgrade_request("/ws")},
    {"HTTP/2 stream", h2::kPreface + h2::settings() + h2::get(1, "/stuck")},
};

// A process with these clients, and the first signal behind it.
struct GoingDown {
  explicit GoingDown(const std::vector<std::string>& flags) : demo(flags) {
    for (const State& state : kStates) {
      RawClient& client = clients.emplace_back(demo.address(), 4096);
      client.send(state.sent);
    }
    // Both handlers that hold what they were given are where they belong.
    in_state = demo.debug_get_until("/debug/pprof/goroutine?debug=2", "wait_forever")
                   .find("wait_forever") != std::string::npos;
    demo.process().kill(SIGTERM);
    refused = eventually([this] { return !RawClient(demo.address()).connected(); });
  }
  // How many connections have ended.
  std::size_t ended() {
    std::size_t count = 0;
    for (RawClient& client : clients) {
      while (client.receive(5s)) {
      }
      count += client.ended();
    }
    return count;
  }

  Demo demo;
  std::deque<RawClient> clients;
  bool in_state = false;
  bool refused = false;
};

TEST_CASE("P4.7: shutdown matrix: a second signal ends a process in every state at once") {
  GoingDown process({"--h2c", "--shutdown-timeout=60s"});
  CHECK(process.in_state);
  CHECK(process.refused);
  const auto begin = std::chrono::steady_clock::now();
  process.demo.process().kill(SIGTERM);
  const Finished finished = process.demo.process().wait(30s);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  CHECK(finished.signal == SIGTERM);
  CHECK(process.ended() == std::size(kStates));
}

TEST_CASE(
    "P4.3: shutdown matrix: at the deadline a process in every state ends, and says what ran") {
  GoingDown process({"--h2c", "--shutdown-timeout=1s"});
  CHECK(process.in_state);
  const Finished finished = process.demo.process().wait(30s);
  CHECK(finished.exit_status == 1);
  CHECK(finished.err.find("GET /stuck") != std::string::npos);
  CHECK(process.ended() == std::size(kStates));
}

}  // namespace
}  // namespace vigil::test
