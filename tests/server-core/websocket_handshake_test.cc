// The opening handshake, without a socket: which requests may open a WebSocket.
#include "server-core/websocket_handshake.h"

#include <vector>

#include "tests/server-core/body_transport.h"
#include "tests/support/catch.h"

using namespace vigil;
using namespace vigil::http;

namespace {

using Fields = std::vector<HeaderField>;

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";  // RFC 6455 §1.3

// A good request with `changes` in the place of its fields of those names, or added; an empty value
// leaves the field out.
Fields fields_with(const Fields& changes) {
  Fields fields = {{"Host", "example.test:8080"},
                   {"Connection", "keep-alive, Upgrade"},
                   {"Upgrade", "websocket"},
                   {"Sec-WebSocket-Version", "13"},
                   {"Sec-WebSocket-Key", kKey}};
  for (const HeaderField& change : changes) {
    std::erase_if(fields, [&](const HeaderField& field) { return field.name == change.name; });
  }
  for (const HeaderField& change : changes) {
    if (!change.value.empty()) fields.push_back(change);
  }
  return fields;
}

struct Asked {
  std::string_view method = "GET";
  HttpVersion version = HttpVersion::kHttp11;
  Fields changes = {};
  std::vector<std::string> subprotocols = {};
  std::function<bool(const Request&)> allow_origin = {};
};

WebSocketHandshake judge(const Asked& asked) {
  const Fields fields = fields_with(asked.changes);
  test::BodyTransport transport;
  Request request;
  REQUIRE(request.reset({asked.method, "/ws", asked.version, HeaderList(fields)}, transport, {}));
  return judge_websocket_request(request, asked.subprotocols, asked.allow_origin);
}

}  // namespace

TEST_CASE("the answer to a key is the one of RFC 6455") {
  CHECK(websocket_accept(kKey) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const WebSocketHandshake good = judge({});
  CHECK(good.refusal == 0);
  CHECK(good.accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(good.subprotocol.empty());
}

TEST_CASE("P4.8: a request that does not open a WebSocket gets its status") {
  CHECK(judge({.method = "POST"}).refusal == 405);
  CHECK(judge({.version = HttpVersion::kHttp10}).refusal == 505);
  const std::pair<Fields, int> cases[] = {
      {{{"Connection", ""}}, 426},
      {{{"Connection", "keep-alive"}}, 426},
      {{{"Upgrade", ""}}, 426},
      {{{"Upgrade", "h2c"}}, 426},
      {{{"Sec-WebSocket-Version", ""}}, 426},
      {{{"Sec-WebSocket-Version", "8"}}, 426},
      {{{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Version", "13"}}, 426},
      {{{"Sec-WebSocket-Key", ""}}, 400},
      {{{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ="}}, 400},
      {{{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=-"}}, 400},
      {{{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j-Q=="}}, 400},
      {{{"Sec-WebSocket-Key", kKey}, {"Sec-WebSocket-Key", kKey}}, 400},
      {{{"Content-Length", "5"}}, 400},
      {{{"Transfer-Encoding", "chunked"}}, 400},
      {{{"Content-Length", "0"}}, 0},
      {{{"Upgrade", "h2c, WebSocket"}, {"Connection", "upgrade"}}, 0},
      {{{"Connection", "keep-alive"}, {"Connection", "Upgrade"}}, 0},
  };
  for (const auto& [changes, status] : cases) {
    INFO(changes[0].name << ": " << changes[0].value);
    const WebSocketHandshake result = judge({.changes = changes});
    CHECK(result.refusal == status);
    CHECK(result.why.empty() == (status == 0));
  }
}

TEST_CASE("P4.8: by default only pages of the same host and port may connect") {
  const auto refusal = [](std::string_view origin) {
    return judge({.changes = {{"Origin", origin}}}).refusal;
  };
  CHECK(refusal("") == 0);  // no browser
  CHECK(refusal("http://example.test:8080") == 0);
  CHECK(refusal("https://EXAMPLE.test:8080") == 0);
  CHECK(refusal("http://example.test") == 403);
  CHECK(refusal("http://example.test:8081") == 403);
  CHECK(refusal("http://evil.test") == 403);
  CHECK(refusal("http://example.test:8080.evil.test") == 403);
  CHECK(refusal("null") == 403);
  CHECK(refusal("example.test:8080") == 403);
  const Fields twice = {{"Origin", "http://example.test:8080"}, {"Origin", "http://evil.test"}};
  CHECK(judge({.changes = twice}).refusal == 403);
}

TEST_CASE("P4.8: the program's own rule about Origin replaces the default") {
  const auto only_good = [](const Request& request) {
    return request.header("Origin") == "https://good.test";
  };
  CHECK(judge({.changes = {{"Origin", "https://good.test"}}, .allow_origin = only_good}).refusal ==
        0);
  CHECK(judge({.changes = {{"Origin", "http://example.test:8080"}}, .allow_origin = only_good})
            .refusal == 403);
  CHECK(judge({.allow_origin = only_good}).refusal == 403);
}

TEST_CASE("the server's first subprotocol that the client offers is chosen, to the letter") {
  const auto chosen = [](std::string_view offered) {
    return judge({.changes = {{"Sec-WebSocket-Protocol", offered}}, .subprotocols = {"v2", "v1"}})
        .subprotocol;
  };
  CHECK(chosen("") == "");
  CHECK(chosen("v1") == "v1");
  CHECK(chosen("v1, v2") == "v2");
  CHECK(chosen("V2 ,\tv1") == "v1");
  CHECK(chosen("v3,,") == "");
  const Fields two_fields = {{"Sec-WebSocket-Protocol", "v3"}, {"Sec-WebSocket-Protocol", "v2"}};
  CHECK(judge({.changes = two_fields, .subprotocols = {"v2"}}).subprotocol == "v2");
}
