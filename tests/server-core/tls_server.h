// A TestServer that speaks TLS, with certificates of a TestPki.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server-core/tls.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_client.h"

namespace vigil::test {

struct TlsServerSetup {
  std::function<void(http::TlsOptions&, TestPki&)> tls = {};
  std::function<void(http::ServerOptions&)> server = {};
  std::function<void(http::Router&)> add = {};
};

// Certificates for "shop.test" (the default) and for "api.test" and "*.api.test". The setup may
// change the options of TLS and of the server. Routes: TestServer's, GET /tls (what Request::tls()
// says), and what it adds.
class TlsServer {
 public:
  explicit TlsServer(const TlsServerSetup& setup = {}) {
    http::TlsOptions options;
    options.certificates = {files(pki.issue("shop", "shop.test", {"shop.test"})),
                            files(pki.issue("api", "api.test", {"api.test", "*.api.test"}))};
    if (setup.tls) setup.tls(options, pki);
    auto loaded = http::TlsContext::load(std::move(options), clock);
    REQUIRE(loaded.ok());
    tls = *std::move(loaded);
    http::ServerOptions server_options = test_options();
    server_options.tls = tls;
    if (setup.server) setup.server(server_options);
    server = std::make_unique<TestServer>(server_options, [&](http::Router& router) {
      REQUIRE(router.handle("GET /tls", describe).ok());
      if (setup.add) setup.add(router);
    });
  }

  static http::TlsCertificate files(const TestCertificate& certificate) {
    return {certificate.chain_file, certificate.key_file};
  }

  TlsClient connect(TlsClient::Options options = {}) {
    return TlsClient((*server)->endpoint(), std::move(options));
  }
  // "<status> <body>" of one request.
  std::string get(TlsClient& client, const std::string& target) {
    client.send(get_request(target));
    const RawResponse response = client.read_response();
    return std::to_string(response.status) + " " + response.body;
  }
  http::ServerStats stats() const { return server->stats(); }

  TestPki pki;
  SystemClock clock;
  std::shared_ptr<http::TlsContext> tls;
  std::unique_ptr<TestServer> server;

 private:
  static void describe(http::ResponseWriter& response, http::Request& request) {
    const std::shared_ptr<const http::TlsInfo> info = request.tls();
    if (!info) return http::write_error(response, 500, "no TLS");
    const bool resumed = info->handshake == http::TlsInfo::Handshake::kResumed;
    (void)response.write(info->version + "," + info->cipher + "," + info->protocol + "," +
                         info->server_name + "," + info->client_subject +
                         (resumed ? ",resumed" : ",full"));
  }
};

}  // namespace vigil::test
