// The demo over TLS, as its operator and its clients see it: curl, openssl s_client, SIGHUP.
#include <signal.h>

#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/eventually.h"
#include "tests/support/go_pprof.h"
#include "tests/support/test_pki.h"

using namespace vigil;
using namespace vigil::test;

namespace {

std::vector<std::string> flags_of(const TestCertificate& certificate) {
  return {"--tls-cert=" + certificate.chain_file, "--tls-key=" + certificate.key_file};
}

// curl, trusting the test's authority; `name` resolves to the demo.
Finished curl(const Demo& demo, const TestPki& pki, const std::string& name,
              const std::string& path, std::vector<std::string> options = {}) {
  const std::string port = std::to_string(demo.address().port);
  std::vector<std::string> command = {"curl",       "-sS",
                                      "--max-time", "20",
                                      "--cacert",   pki.authority_file(),
                                      "--resolve",  name + ":" + port + ":" + demo.address().host};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back("https://" + name + ":" + port + path);
  return run(command);
}

Finished s_client(const Demo& demo, const std::string& options) {
  return run({"bash", "-c",
              "printf 'GET /hello HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | "
              "timeout 20 openssl s_client -ign_eof -connect " +
                  format_host_port(demo.address()) + " " + options + " 2>&1"});
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("TLS: curl verifies the certificate of each name, and is answered") {
  TestPki pki;
  std::vector<std::string> flags = flags_of(pki.issue("shop", "shop.test", {"shop.test"}));
  for (const std::string& flag : flags_of(pki.issue("api", "api.test", {"*.api.test"}))) {
    flags.push_back(flag);
  }
  const Demo demo(flags);
  for (const char* name : {"shop.test", "eu.api.test"}) {
    const Finished answer = curl(demo, pki, name, "/hello");
    INFO(answer.err);
    CHECK(answer.exit_status == 0);
    CHECK(answer.out == "hello, world\n");
  }
  constexpr int kUnverified = 60;  // of curl(1)
  // It looks at the name when its side of the handshake is done, and goes: the server's side may
  // still be on its way.
  CHECK(curl(demo, pki, "other.test", "/hello").exit_status == kUnverified);

  const std::string third = "vigil_tls_handshakes_total{server=\"main\",result=\"full\"} 3";
  const std::string metrics = demo.debug_get_until("/metrics", third);
  CHECK(has(metrics, third));
  CHECK(has(metrics, "vigil_tls_certificate_expiry_timestamp_seconds{server=\"main\"} "));
  CHECK(has(demo.debug_get("/debug/vars").body, "\"handshakes\""));
}

TEST_CASE("TLS: s_client resumes, gets what it asks for, and no old version") {
  TestPki pki;
  const Demo demo(flags_of(pki.issue("shop", "shop.test")));
  const std::string session = pki.folder() + "/session";
  for (const char* version : {"-tls1_2", "-tls1_3"}) {
    const Finished first =
        s_client(demo, std::string(version) + " -sess_out " + session + " -alpn h3,http/1.1");
    CHECK(has(first.out, "New, "));
    CHECK(has(first.out, "hello, world"));
    CHECK(has(first.out, "ALPN protocol: http/1.1"));
    const Finished second = s_client(demo, std::string(version) + " -sess_in " + session);
    CHECK(has(second.out, "Reused, "));
    CHECK(has(second.out, "hello, world"));
  }
  CHECK(has(s_client(demo, "-alpn http/1.1,h2").out, "ALPN protocol: h2"));
  CHECK(has(s_client(demo, "-alpn nonsense").out, "no application protocol"));
  CHECK_FALSE(has(s_client(demo, "-tls1_1 -cipher DEFAULT@SECLEVEL=0").out, "hello, world"));
}

TEST_CASE("TLS: a client needs a certificate where an authority is given") {
  TestPki pki;
  std::vector<std::string> flags = flags_of(pki.issue("shop", "shop.test", {"shop.test"}));
  flags.push_back("--tls-client-ca=" + pki.authority_file());
  Demo demo(flags);
  const TestCertificate alice = pki.issue("alice", "alice");
  CHECK(
      curl(demo, pki, "shop.test", "/hello", {"--cert", alice.chain_file, "--key", alice.key_file})
          .out == "hello, world\n");
  CHECK(curl(demo, pki, "shop.test", "/hello").exit_status != 0);
  CHECK(demo.process().wait_for_err("\"kind\":\"tls_handshake\""));
}

TEST_CASE(
    "TLS: SIGHUP takes the new certificate, keeps the old one if the new is no good, and ends "
    "nothing") {
  TestPki pki;
  Demo demo(flags_of(pki.issue("shop", "old.test", {"old.test"})));
  REQUIRE(curl(demo, pki, "old.test", "/hello").exit_status == 0);
  (void)pki.issue("shop", "new.test", {"new.test"});
  demo.process().kill(SIGHUP);
  REQUIRE(demo.process().wait_for_err("certificates reloaded"));
  CHECK(curl(demo, pki, "new.test", "/hello").exit_status == 0);

  (void)pki.write("shop.pem", "not a certificate");
  demo.process().kill(SIGHUP);
  REQUIRE(demo.process().wait_for_err("shop.pem: no certificate in it"));
  CHECK(curl(demo, pki, "new.test", "/hello").exit_status == 0);

  demo.process().kill(SIGTERM);
  CHECK(demo.process().wait().exit_status == 0);
}

TEST_CASE("TLS: flags that do not go together, and files that are no good, are named") {
  TestPki pki;
  const TestCertificate good = pki.issue("good", "good.test");
  const auto start = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {kDemoProgram, "--listen=127.0.0.1:0", "--debug=127.0.0.1:0"});
    return run(flags);
  };
  const Finished alone = start({"--tls-cert=" + good.chain_file});
  CHECK(alone.exit_status == 1);
  CHECK(alone.err == "vigil-demo: each --tls-cert needs its --tls-key, in the same order\n");
  const Finished missing = start({"--tls-cert=/nonexistent.pem", "--tls-key=" + good.key_file});
  CHECK(missing.exit_status == 1);
  CHECK(missing.err == "vigil-demo: TLS: /nonexistent.pem: No such file or directory\n");
}

TEST_CASE("TLS: ALPN chooses HTTP/2 for curl and h2load, and HTTP/1.1 where that is asked for") {
  TestPki pki;
  const Demo demo(flags_of(pki.issue("shop", "shop.test", {"shop.test"})));
  const std::vector<std::string> version = {"-o", "/dev/null", "-w",
                                            "%{http_version} %{http_code}"};
  CHECK(curl(demo, pki, "shop.test", "/hello", version).out == "2 200");
  std::vector<std::string> old = version;
  old.push_back("--http1.1");
  CHECK(curl(demo, pki, "shop.test", "/hello", old).out == "1.1 200");
  const Finished load = run(
      {"h2load", "-c4", "-m8", "-n2000", "https://" + format_host_port(demo.address()) + "/hello"});
  INFO(load.out);
  CHECK(has(load.out, "Application protocol: h2"));
  CHECK(has(load.out, "2000 succeeded, 0 failed, 0 errored"));
  CHECK(has(demo.debug_get("/metrics").body, "vigil_http2_connections_total{server=\"main\"} 5"));
}

TEST_CASE(
    "with --h2-only curl is served over HTTP/2 and refused over HTTP/1.1, with TLS and without") {
  const std::vector<std::string> version = {"-w", "%{http_version} %{http_code}"};
  const auto with = [&](const char* option) {
    std::vector<std::string> options = version;
    options.push_back(option);
    return options;
  };
  {
    const Demo demo({"--h2-only", "--http2-max-streams=7"});
    const std::string url = "http://" + format_host_port(demo.address()) + "/hello";
    const auto ask = [&](const char* option) {
      return run({"curl", "-sS", "--max-time", "20", "-w", "%{http_version} %{http_code}", option,
                  url})
          .out;
    };
    CHECK(ask("--http2-prior-knowledge") == "hello, world\n2 200");
    CHECK(ask("--http1.1") == "only HTTP/2 is served here\n1.1 400");
    const Finished limit = run({"nghttp", "-nv", "--no-verify-peer", url});
    INFO(limit.out);
    CHECK(has(limit.out, "[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7]"));
  }
  TestPki pki;
  std::vector<std::string> flags = flags_of(pki.issue("shop", "shop.test", {"shop.test"}));
  flags.push_back("--h2-only");
  const Demo demo(flags);
  CHECK(curl(demo, pki, "shop.test", "/hello", with("--http2")).out == "hello, world\n2 200");
  constexpr int kNoHandshake = 35;  // of curl(1)
  CHECK(curl(demo, pki, "shop.test", "/hello", with("--http1.1")).exit_status == kNoHandshake);
  CHECK(curl(demo, pki, "shop.test", "/hello",
             {"-w", "%{http_version} %{http_code}", "--http1.1", "--no-alpn"})
            .out == "only HTTP/2 is served here\n1.1 400");
}

TEST_CASE("TLS: Chromium loads a page over HTTP/2, and the page opens a WebSocket") {
  TestPki pki;
  const Demo demo(flags_of(pki.issue("shop", "shop.test", {"shop.test"})));
  const auto browse = [&demo] {
    const TemporaryFolder profile;
    return run({"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--ignore-certificate-errors",
                "--user-data-dir=" + profile.path.string(), "--timeout=5000",
                "--virtual-time-budget=5000", "--dump-dom",
                "https://" + format_host_port(demo.address()) + "/ws.html"});
  };
  // The browser's virtual time does not wait for a WebSocket: on a busy machine the page may be
  // written out before the message has come.
  constexpr int kTriesMax = 5;
  int tries = 1;
  Finished browser = browse();
  for (; !has(browser.out, "<li>hello, socket</li>") && tries < kTriesMax; ++tries) {
    browser = browse();
  }
  INFO(browser.err);
  CHECK(has(browser.out, "<li>hello, socket</li>"));
  // The page has the message when the server's thread may not have counted it.
  const std::string message = "vigil_websocket_messages_total{server=\"main\",direction=\"out\"} ";
  CHECK(eventually([&] {
    const std::string metrics = demo.debug_get("/metrics").body;
    return has(metrics, message) && !has(metrics, message + "0\n");
  }));
  CHECK(has(demo.debug_get("/metrics").body,
            "vigil_http2_connections_total{server=\"main\"} " + std::to_string(tries) + "\n"));
}
