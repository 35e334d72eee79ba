// The demo's WebSocket, talked to by clients that are not ours: node's `ws` and a browser.

#include <csignal>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"
#include "tests/support/test_pki.h"
#include "tests/support/websocket_client.h"

namespace vigil::test {
namespace {

// Debian's node-ws.
const std::map<std::string, std::string> kNodePath = {{"NODE_PATH", "/usr/share/nodejs"}};

std::string origin(const Demo& demo) { return format_host_port(demo.address()); }

// Runs `script` under node with `ws` and the address as WebSocket and url.
class Node {
 public:
  Node(const Demo& demo, const std::string& script, const std::string& scheme = "ws")
      : process_({"node", "-e",
                  "const { WebSocket } = require('ws'); const url = '" + scheme + "://" +
                      origin(demo) + "/ws'; " + script},
                 kNodePath) {}
  Subprocess& process() { return process_; }

 private:
  Subprocess process_;
};

TEST_CASE("the npm package ws talks with the demo: text, binary, fragments, ping, close") {
  Demo demo;
  Node node(demo, R"(
    const socket = new WebSocket(url);
    const large = Buffer.alloc(70000, 7);
    const got = [];
    socket.on('open', () => {
      socket.send('grüße');
      socket.send(large);
      socket.send('in ', { fin: false });
      socket.ping('p');
      socket.send('pieces', { fin: true });
    });
    socket.on('pong', (data) => console.log('pong ' + data));
    socket.on('message', (data, binary) => {
      got.push(binary ? 'binary ' + data.equals(large) : 'text ' + data);
      if (got.length == 3) socket.close(3456, 'enough');
    });
    socket.on('close', (code, reason) => console.log(got.join(', ') + ', closed ' + code + ' ' + reason));
    socket.on('error', (error) => console.log('error ' + error.message));
  )");
  const Finished finished = node.process().wait();
  INFO(finished.err);
  CHECK(finished.exit_status == 0);
  CHECK(finished.out == "pong p\ntext grüße, binary true, text in pieces, closed 3456 enough\n");
  const std::string metrics = demo.debug_get_until(
      "/metrics", "vigil_websocket_closed_total{server=\"main\",class=\"application\"} 1");
  CHECK(metrics.find("vigil_websockets{server=\"main\"} 0") != std::string::npos);
  CHECK(metrics.find("vigil_websocket_messages_total{server=\"main\",direction=\"in\"} 3") !=
        std::string::npos);
}

TEST_CASE(
    "the npm package ws talks with the demo over TLS, which it verifies, and is told the end") {
  TestPki pki;
  const TestCertificate shop = pki.issue("shop", "shop.test", {"shop.test"});
  Demo demo({"--tls-cert=" + shop.chain_file, "--tls-key=" + shop.key_file});
  Node node(demo, "const ca = require('fs').readFileSync('" + pki.authority_file() + "');" + R"(
    const large = Buffer.alloc(200000, 7);
    const stranger = new WebSocket(url, { servername: 'shop.test' });
    stranger.on('error', (error) => console.log('without the authority: ' + error.code));
    const socket = new WebSocket(url, { ca, servername: 'shop.test' });
    socket.on('open', () => { socket.send('grüße'); socket.send(large); });
    socket.on('message', (data, binary) => {
      console.log(binary ? 'binary ' + data.equals(large) : 'text ' + data);
      if (binary) console.log('both');
    });
    socket.on('close', (code) => console.log('closed ' + code));
    socket.on('error', (error) => console.log('error ' + error.message));
  )",
            "wss");
  REQUIRE(node.process().wait_for_out("both"));
  REQUIRE(node.process().wait_for_out("without the authority"));
  demo.process().kill(SIGTERM);
  const Finished finished = node.process().wait();
  INFO(finished.err);
  CHECK(finished.exit_status == 0);
  CHECK(finished.out.find("without the authority: UNABLE_TO_") != std::string::npos);
  CHECK(finished.out.find("text grüße\nbinary true\nboth\n") != std::string::npos);
  CHECK(finished.out.find("closed 1001\n") != std::string::npos);
  CHECK(demo.process().wait().exit_status == 0);
}

TEST_CASE("P4.8: the npm package ws is told why it is refused") {
  Demo demo;
  Node node(demo, R"(
    const tooBig = new WebSocket(url);
    tooBig.on('open', () => tooBig.send('x'.repeat(1024 * 1024 + 1)));
    tooBig.on('error', () => {});
    tooBig.on('close', (code, reason) => {
      console.log('too big: ' + code + ' ' + reason);
      const foreign = new WebSocket(url, { origin: 'http://evil.test' });
      foreign.on('error', (error) => console.log('foreign: ' + error.message));
    });
  )");
  const Finished finished = node.process().wait();
  INFO(finished.err);
  CHECK(finished.out ==
        "too big: 1009 the message is too big\nforeign: Unexpected server response: 403\n");
}

TEST_CASE("P4.6: SIGTERM says 1001 to the npm package ws, and the demo ends cleanly") {
  Demo demo;
  Node node(demo, R"(
    const socket = new WebSocket(url);
    socket.on('open', () => socket.send('there'));
    socket.on('message', (data) => console.log('got ' + data));
    socket.on('close', (code, reason) => console.log('closed ' + code + ' ' + reason));
  )");
  REQUIRE(node.process().wait_for_out("got there\n"));
  demo.process().kill(SIGTERM);
  CHECK(node.process().wait().out == "got there\nclosed 1001 the server is going down\n");
  const Finished finished = demo.process().wait();
  CHECK(finished.exit_status == 0);
  CHECK(finished.err.find("\"hijacked_closed\":1") != std::string::npos);
}

TEST_CASE("P4.6: a client that does not answer the 1001 is cut at the deadline, and that is told") {
  Demo demo({"--shutdown-timeout=300ms"});
  WebSocketClient silent(RawClient(demo.address()), "/ws");
  REQUIRE(silent.open());
  demo.process().kill(SIGTERM);
  CHECK(silent.read_frame().code() == 1001);
  CHECK(silent.ended());
  const Finished finished = demo.process().wait();
  CHECK(finished.exit_status == 1);
  CHECK(finished.err.find("\"hijacked_forced\":1") != std::string::npos);
}

TEST_CASE("a page in Chromium opens the WebSocket and shows the echo") {
  Demo demo;
  const TemporaryFolder profile;
  const Finished browser =
      run({"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
           "--no-first-run", "--disable-background-networking", "--disable-component-update",
           "--disable-sync", "--user-data-dir=" + profile.path.string(), "--timeout=5000",
           "--virtual-time-budget=5000", "--dump-dom", "http://" + origin(demo) + "/ws.html"});
  INFO(browser.err);
  CHECK(browser.out.find("<p id=\"state\">open</p>") != std::string::npos);
  CHECK(browser.out.find("<li>hello, socket</li>") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
