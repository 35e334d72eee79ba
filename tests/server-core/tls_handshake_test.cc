// TLS handshakes: what is agreed upon, with whom, and what becomes of those that fail.
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "server-core/handshake_log.h"
#include "tests/server-core/tls_server.h"
#include "tests/support/subprocess.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

void ask_for_clients(TlsOptions& options, TestPki& pki, ClientCertificates mode) {
  options.client_certificates = mode;
  options.client_ca_file = pki.authority_file();
}

// A whole exchange, so that a TLS 1.3 server has had its say about the client's certificate.
bool serves(TlsServer& server, TlsClient& client) {
  return client.shaken() && server.get(client, "/hello") == "200 hello\n";
}

}  // namespace

TEST_CASE("TLS: a request says what was agreed upon") {
  TlsServer server;
  TlsClient client = server.connect({.server_name = "shop.test",
                                     .alpn = {"http/1.1"},
                                     .authority_file = server.pki.authority_file()});
  REQUIRE(client.shaken());
  CHECK(server.get(client, "/tls") ==
        "200 TLSv1.3,TLS_AES_128_GCM_SHA256,http/1.1,shop.test,,full");
  CHECK(server.get(client, "/hello") == "200 hello\n");
  const ServerStats stats = server.stats();
  CHECK(stats.tls.handshakes == 1);
  CHECK(stats.tls.failures == 0);
  CHECK(stats.requests == 2);

  TestServer plain(test_options(), [](Router& router) {
    REQUIRE(router
                .handle("GET /tls",
                        [](ResponseWriter& response, Request& request) {
                          (void)response.write(request.tls() ? "tls" : "plain");
                        })
                .ok());
  });
  CHECK(plain.get("/tls") == "200 plain");
}

TEST_CASE("P5.8: nothing below TLS 1.2, and 1.3 alone when that is asked for") {
  TlsServer server;
  CHECK_FALSE(server.connect({.version_max = TLS1_1_VERSION}).shaken());
  TlsClient old = server.connect({.version_max = TLS1_VERSION});
  CHECK_FALSE(old.shaken());
  TlsClient twelve = server.connect({.version_max = TLS1_2_VERSION});
  REQUIRE(twelve.shaken());
  CHECK(twelve.version() == "TLSv1.2");
  CHECK(serves(server, twelve));
  CHECK(server.stats().tls.failures == 2);

  TlsServer modern(
      {.tls = [](TlsOptions& options, TestPki&) { options.lowest_version = TlsVersion::kTls13; }});
  CHECK_FALSE(modern.connect({.version_max = TLS1_2_VERSION}).shaken());
  TlsClient thirteen = modern.connect();
  CHECK(serves(modern, thirteen));
}

TEST_CASE("TLS: in 1.2 the server's order of ciphers counts, and only those with forward secrecy") {
  TlsServer server;
  const auto chosen = [&](const std::string& ciphers) {
    TlsClient client = server.connect({.version_max = TLS1_2_VERSION, .ciphers12 = ciphers});
    return client.shaken() ? client.cipher() : "none";
  };
  CHECK(chosen("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:"
               "ECDHE-ECDSA-AES128-GCM-SHA256") == "ECDHE-ECDSA-AES128-GCM-SHA256");
  CHECK(chosen("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384") ==
        "ECDHE-ECDSA-AES256-GCM-SHA384");
  CHECK(chosen("ECDHE-ECDSA-CHACHA20-POLY1305") == "ECDHE-ECDSA-CHACHA20-POLY1305");
  CHECK(chosen("ECDHE-ECDSA-AES128-SHA") == "none");
  CHECK(chosen("AES128-GCM-SHA256") == "none");
}

TEST_CASE("P5.8: ALPN chooses in our order, and refuses a client that has nothing of ours") {
  TlsServer server({.tls = [](TlsOptions& options, TestPki&) {
    options.alpn = {"one", "http/1.1"};
  }});
  CHECK(server.connect({.alpn = {"http/1.1", "one"}}).protocol() == "one");
  CHECK(server.connect({.alpn = {"three", "http/1.1"}}).protocol() == "http/1.1");
  TlsClient silent = server.connect();
  CHECK(silent.protocol() == "");
  CHECK(serves(server, silent));
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient stranger = server.connect({.alpn = {"three"}, .version_max = version});
    CHECK_FALSE(stranger.shaken());
    CHECK(stranger.error() == "tlsv1 alert no application protocol");
  }
}

TEST_CASE("TLS: a port of HTTP/2's alone: no HTTP/1.1 by ALPN, and 400 for who comes without") {
  TlsServer server({.tls = [](TlsOptions& options, TestPki&) { options.alpn = {"h2"}; },
                    .server = [](ServerOptions& options) { options.http1 = Http1::kRefused; }});
  CHECK(server.connect({.alpn = {"http/1.1", "h2"}}).protocol() == "h2");
  TlsClient old = server.connect({.alpn = {"http/1.1"}});
  CHECK_FALSE(old.shaken());
  CHECK(old.error() == "tlsv1 alert no application protocol");
  TlsClient silent = server.connect();
  CHECK(server.get(silent, "/hello") == "400 only HTTP/2 is served here\n");
  CHECK(silent.read_to_end().empty());
  RawClient clear = server.server->connect();
  clear.send(get_request("/hello"));
  CHECK(clear.read_response().status == 400);
  CHECK(clear.closed_within(RawClient::kLimit));
  // What it refuses it must not offer.
  ServerOptions options = test_options();
  options.http1 = Http1::kRefused;
  TlsServer offering;
  options.tls = offering.tls;
  const auto refused = Server::create(
      options, [](auto&, auto&) {}, server.server->registry, server.server->sink,
      server.server->clock);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message().find("alpn") != std::string::npos);
}

TEST_CASE("P5.8: no renegotiation, no compression") {
  TlsServer server;
  const Finished client =
      run({"bash", "-c",
           // An R alone asks for a renegotiation: behind the answer, so that it comes alone.
           "coproc client { openssl s_client -tls1_2 -connect " +
               format_host_port((*server.server)->endpoint()) +
               " 2>&1; }; exec 3>&${client[1]} 4<&${client[0]};"
               "printf 'GET /hello HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3;"
               "while IFS= read -r -t 10 line <&4; do"
               "  echo \"$line\"; if [[ $line == hello* ]]; then echo R >&3; fi; done"});
  CHECK(client.out.find("hello") != std::string::npos);
  CHECK(client.out.find("Compression: NONE") != std::string::npos);
  CHECK(client.out.find("RENEGOTIATING") != std::string::npos);
  CHECK(client.out.find("no renegotiation") != std::string::npos);
  CHECK(server.stats().tls.handshakes == 1);
}

TEST_CASE("TLS: the certificate is chosen by the server name") {
  TlsServer server;
  const auto name_for = [&](const std::string& name) {
    return server.connect({.server_name = name}).server_common_name();
  };
  CHECK(name_for("shop.test") == "shop.test");
  CHECK(name_for("api.test") == "api.test");
  CHECK(name_for("API.Test") == "api.test");
  CHECK(name_for("eu.api.test") == "api.test");
  CHECK(name_for("a.eu.api.test") == "shop.test");  // a star is one label
  CHECK(name_for("other.test") == "shop.test");
  CHECK(server.connect().server_common_name() == "shop.test");
}

TEST_CASE(
    "TLS: sessions are resumed, in 1.2 and 1.3, also after a reload, and not with others' "
    "tickets") {
  TlsServer server;
  TlsServer other;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    // A client uses a ticket of TLS 1.3 once, and gets new ones with each connection.
    auto last = std::make_unique<TlsClient>(
        (*server.server)->endpoint(),
        TlsClient::Options{.server_name = "shop.test", .version_max = version});
    REQUIRE(serves(server, *last));
    CHECK_FALSE(last->resumed());
    const auto again = [&](TlsServer& where) {
      auto next = std::make_unique<TlsClient>(
          (*where.server)->endpoint(),
          TlsClient::Options{
              .server_name = "shop.test", .version_max = version, .session = last->session()});
      const bool served = serves(where, *next);
      last = std::move(next);
      return served ? (last->resumed() ? "resumed" : "full") : "failed";
    };
    const std::uint64_t before = server.stats().tls.resumed;
    CHECK(again(server) == std::string("resumed"));
    CHECK(server.stats().tls.resumed == before + 1);
    REQUIRE(server.tls->reload().ok());
    CHECK(again(server) == std::string("resumed"));
    CHECK(again(other) == std::string("full"));
  }
}

TEST_CASE("TLS: client certificates are not asked for, asked for, or required") {
  TlsServer none;
  TestPki strangers;
  const TestCertificate alice = none.pki.issue("alice", "alice");
  TlsClient ignored = none.connect({.certificate = alice});
  CHECK(none.get(ignored, "/tls").ends_with(",,,,full"));

  for (const auto mode : {ClientCertificates::kRequest, ClientCertificates::kRequire}) {
    std::mutex mutex;
    std::string seen;  // by conn_context
    TlsServer server(
        {.tls = [&](TlsOptions& options, TestPki& pki) { ask_for_clients(options, pki, mode); },
         .server =
             [&](ServerOptions& options) {
               options.conn_context = [&](const Context& base, const ConnInfo& conn) {
                 const std::lock_guard lock(mutex);
                 seen = conn.tls ? conn.tls->client_subject : "no TLS";
                 return base;
               };
             }});
    const TestCertificate bob = server.pki.issue("bob", "bob, the builder");
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      INFO("TLS version " << version << ", required " << (mode == ClientCertificates::kRequire));
      TlsClient good = server.connect({.certificate = bob, .version_max = version});
      REQUIRE(serves(server, good));
      CHECK(server.get(good, "/tls").find("CN=bob\\, the builder,O=Vigil Tests") !=
            std::string::npos);
      {
        const std::lock_guard lock(mutex);
        CHECK(seen == "CN=bob\\, the builder,O=Vigil Tests");
      }
      // A ticket carries who the client was.
      TlsClient resumed = server.connect({.version_max = version, .session = good.session()});
      REQUIRE(serves(server, resumed));
      CHECK(resumed.resumed());
      CHECK(server.get(resumed, "/tls").find("CN=bob\\, the builder") != std::string::npos);

      TlsClient bare = server.connect({.version_max = version});
      CHECK(serves(server, bare) == (mode == ClientCertificates::kRequest));
      TlsClient stranger =
          server.connect({.certificate = strangers.issue("eve", "eve"), .version_max = version});
      CHECK_FALSE(serves(server, stranger));
      TlsClient late = server.connect(
          {.certificate = server.pki.issue("old", "old", {}, TestPki::Validity::kExpired),
           .version_max = version});
      CHECK_FALSE(serves(server, late));
    }
    CHECK(server.server->sink.saw("certificate verify failed: certificate has expired"));
    CHECK(server.server->sink.saw("peer did not return a certificate") ==
          (mode == ClientCertificates::kRequire));
  }
}

TEST_CASE(
    "TLS: a reload changes the certificate of new connections, and bad files change nothing") {
  TlsServer server;
  TlsClient before = server.connect();
  REQUIRE(before.server_common_name() == "shop.test");

  const WallTime expires = server.tls->expires();
  (void)server.pki.issue("shop", "new.test", {"new.test"});
  REQUIRE(server.tls->reload().ok());
  CHECK(server.tls->expires() >= expires);
  CHECK(server.connect().server_common_name() == "new.test");
  CHECK(serves(server, before));

  const std::string key = server.pki.folder() + "/shop.key";
  const std::string good_key = read_whole_file(key);
  for (const std::string& bad : {std::string("nothing"), good_key.substr(0, good_key.size() / 2),
                                 read_whole_file(server.pki.folder() + "/api.key")}) {
    (void)server.pki.write("shop.key", bad);
    const Result<void> reloaded = server.tls->reload();
    REQUIRE_FALSE(reloaded.ok());
    CHECK(reloaded.error().code() == ErrorCode::kInvalidArgument);
    CHECK(reloaded.error().message().find(key) != std::string::npos);
    CHECK(server.connect().server_common_name() == "new.test");
  }
  (void)server.pki.write("shop.key", good_key);
  CHECK(server.tls->reload().ok());
  CHECK(serves(server, before));
}

TEST_CASE("P2.6: a handshake that stalls is closed at its deadline, whatever trickles in") {
  TlsServer server(
      {.tls = [](TlsOptions& options, TestPki&) { options.handshake_timeout = 300ms; }});
  const auto began = std::chrono::steady_clock::now();
  RawClient silent = server.server->connect();
  RawClient stalled = server.server->connect();
  REQUIRE(stalled.send(std::string_view("\x16\x03\x01\x02\x00\x01", 6)));
  RawClient dripping = server.server->connect();
  const std::string hello = std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  std::size_t dripped = 0;
  while (std::chrono::steady_clock::now() - began < 5s) {
    if (!dripping.send(dripped < hello.size() ? hello.substr(dripped, 1) : "x")) break;
    ++dripped;
    if (dripping.closed_within(10ms)) break;
  }
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK(took >= 300ms);
  CHECK(took < 1500ms);
  CHECK(silent.closed_within(1s));
  CHECK(stalled.closed_within(1s));
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(server.stats().tls.timeouts == 3);
  // Who never spoke is no news.
  CHECK(server.server->sink.count("the handshake took too long") == 2);
  CHECK(server.server->sink.count("\"kind\":\"tls_handshake\"") == 2);
}

TEST_CASE(
    "P2.6: without a time of its own, a handshake has the shortest of the head's, the request's "
    "and the response's") {
  TlsServer server({.server = [](ServerOptions& options) { options.write_timeout = 200ms; }});
  RawClient silent = server.server->connect();
  CHECK(silent.closed_within(1500ms));
  CHECK(server.stats().tls.timeouts == 1);
}

TEST_CASE("TLS: connections that still shake hands hold no thread, and nobody up") {
  TlsServer server;
  TlsClient first = server.connect();
  REQUIRE(serves(server, first));
  const std::uint64_t threads = server.stats().threads_now;
  std::vector<RawClient> stalled;
  for (int i = 0; i < 100; ++i) {
    stalled.push_back(server.server->connect());
    REQUIRE(stalled.back().send(std::string_view("\x16\x03\x01\x02\x00\x01", 6)));
  }
  REQUIRE(eventually([&] { return server.stats().connections.handshaking == 100; }));
  TlsClient other = server.connect();
  CHECK(serves(server, other));
  CHECK(server.stats().threads_now <= threads + 1);
}

TEST_CASE("TLS: a handshake a byte at a time is as good as any") {
  TlsServer server;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client = server.connect({.version_max = version, .drip = 1});
    CHECK(serves(server, client));
  }
}

TEST_CASE("P2.6: HTTP without TLS gets 400 in clear text") {
  TlsServer server;
  for (const char* request :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    for (const bool byte_by_byte : {false, true}) {
      RawClient client = server.server->connect();
      const std::string_view text(request);
      for (std::size_t i = 0; i < text.size(); i += byte_by_byte ? 1 : text.size()) {
        REQUIRE(client.send(byte_by_byte ? text.substr(i, 1) : text));
      }
      const RawResponse response = client.read_response();
      CHECK(response.status == 400);
      CHECK(response.header("connection") == "close");
      CHECK(response.body == "Client sent an HTTP request to an HTTPS server.\n");
      CHECK(client.closed_within(1s));
    }
  }
  CHECK(server.stats().tls.failures == 8);
  CHECK(server.server->sink.saw("HTTP without TLS"));
}

TEST_CASE("TLS: a garbage handshake is closed and logged once, with its attribute") {
  TlsServer server;
  const std::string garbage[] = {
      "hello, is this the mail server?\r\n",
      std::string(300, '\0'),
      std::string(300, '\xff'),
      std::string("\x16\x03\x01\x40\x01", 5) + std::string(200, 'x'),  // a record too long
      std::string("\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", 10),     // a hello of 16 MB
      std::string("\x15\x03\x01\x00\x02\x02\x28", 7),                  // an alert first
      std::string("\x17\x03\x03\x00\x02hi", 7)};                       // data first
  int records = 0;
  for (const std::string& bytes : garbage) {
    RawClient client = server.server->connect();
    REQUIRE(client.send(bytes));
    client.half_close();
    (void)client.read_to_end();
    CHECK(client.ended());
    REQUIRE(eventually([&] { return server.stats().connections.open() == 0; }));
    ++records;
    if (records > HandshakeLog::kRecordsASecond) continue;
    CHECK(server.server->sink.count("\"kind\":\"tls_handshake\"") == records);
  }
  CHECK(server.stats().tls.failures == std::size(garbage));
}

TEST_CASE("P3.6: a flood of bad handshakes does not fill the log") {
  TlsServer server;
  const auto began = std::chrono::steady_clock::now();
  constexpr int kFlood = 300;
  for (int i = 0; i < kFlood; ++i) {
    RawClient client = server.server->connect();
    client.reset_on_close();
    REQUIRE(client.send("garbage\n"));
    (void)client.read_to_end();
  }
  REQUIRE(eventually([&] { return server.stats().tls.failures == kFlood; }));
  const auto seconds =
      std::chrono::ceil<std::chrono::seconds>(std::chrono::steady_clock::now() - began);
  const int records = server.server->sink.count("tls_handshake");
  CHECK(records >= 1);
  CHECK(records <= HandshakeLog::kRecordsASecond * (seconds.count() + 1));
}

TEST_CASE("TLS: a client that leaves without a byte is counted and not logged") {
  TlsServer server;
  { RawClient client = server.server->connect(); }
  CHECK(eventually([&] { return server.stats().tls.abandoned == 1; }));
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(server.stats().tls.failures == 0);
  CHECK(server.server->sink.count("tls_handshake") == 0);
}

TEST_CASE("P4.2: a shutdown does not wait for handshakes, close() still less") {
  TlsServer server;
  RawClient shaking = server.server->connect();
  REQUIRE(shaking.send(std::string_view("\x16\x03\x01\x02\x00\x01", 6)));
  REQUIRE(eventually([&] { return server.stats().connections.handshaking == 1; }));
  SECTION("at the deadline") {
    const ShutdownReport report = (*server.server)->shutdown(in(200ms));
    CHECK(report.forced == 0);
    CHECK(report.closed_idle == 1);
  }
  SECTION("at once") { (*server.server)->close(); }
  CHECK(shaking.closed_within(1s));
  CHECK(server.stats().connections.open() == 0);
}

TEST_CASE("P4.1: a shutdown tells idle TLS connections that it is the end") {
  TlsServer server;
  TlsClient idle = server.connect();
  REQUIRE(serves(server, idle));
  REQUIRE(eventually([&] { return server.stats().connections.idle == 1; }));
  const ShutdownReport report = (*server.server)->shutdown(in(5s));
  CHECK(report.complete());
  CHECK(report.closed_idle == 1);
  CHECK(idle.closed_within(2s));
  CHECK(idle.said_end());
}

TEST_CASE("P3.1: over the connection limit a TLS client is closed without an answer") {
  TlsServer server({.server = [](ServerOptions& options) { options.max_connections = 1; }});
  TlsClient first = server.connect();
  REQUIRE(serves(server, first));
  RawClient second = server.server->connect();
  CHECK(second.closed_within(1s));
  CHECK(second.take_received().empty());
  CHECK(server.stats().limits_hit.connections == 1);
  CHECK(serves(server, first));
}
