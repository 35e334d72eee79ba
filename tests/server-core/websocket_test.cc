// WebSockets on real sockets: opening, messages, closing, and what a peer gets that breaks the rules.
#include "server-core/websocket.h"

#include <mutex>
#include <stdexcept>
#include <thread>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/websocket_client.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

constexpr std::uint64_t kMessageBytesMax = 2000;

void echo(WebSocket& socket) {
  while (auto message = socket.read_message(in(20s))) {
    if (!socket.send(message->kind, message->data)) return;
  }
}

// A server whose GET /ws opens a WebSocket with `options` and runs `talk`; `done` when it is over.
struct Fixture {
  using Talk = std::function<void(WebSocket&)>;
  explicit Fixture(WebSocketOptions with, Talk does = echo)
      : options(std::move(with)), talk(std::move(does)), server(test_options(), [this](Router& r) {
          REQUIRE(r.handle("GET /ws", [this](ResponseWriter& response, Request& request) {
                     run(response, request);
                   }).ok());
        }) {}
  void run(ResponseWriter& response, Request& request) {
    struct Count {
      std::atomic<int>& count;
      ~Count() { ++count; }
    } const count{done};
    response.headers().set("Set-Cookie", "a=b");
    Result<WebSocket> socket = upgrade_websocket(response, request, options);
    notes.add(socket);
    if (socket) talk(*socket);
  }
  WebSocketClient connect(const std::string& fields = {}, std::string_view behind = {}) {
    return WebSocketClient(server.connect(), "/ws", fields, behind);
  }
  bool wait_done(int count = 1) {
    return eventually([&] { return done >= count; });
  }
  WebSocketStats stats() { return server.stats().websockets; }
  std::uint64_t closed(CloseClass close_class) {
    return stats().closed[static_cast<std::size_t>(close_class)];
  }

  Notes notes;
  std::atomic<int> done{0};
  WebSocketOptions options;
  Talk talk;
  TestServer server;  // last: its handlers use the others
};

}  // namespace

TEST_CASE(
    "a WebSocket opens with the answer to its key, and echoes whole and fragmented messages") {
  const std::string large(100'000, 'x');  // several reads, an eight-byte length
  Fixture f({.subprotocols = {"chat"}, .message_bytes_max = large.size()});
  WebSocketClient client = f.connect("Sec-WebSocket-Protocol: x, chat\r\n");
  REQUIRE(client.open());
  CHECK(client.response().header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(client.response().header("sec-websocket-protocol") == "chat");
  CHECK(client.response().header("set-cookie") == "a=b");
  CHECK(client.response().header("content-length").empty());

  client.send(kFin | kText, "hello");
  ServerFrame frame = client.read_frame();
  CHECK(f.stats().open == 1);  // counted behind the opening, before the first message
  CHECK(frame.first == (kFin | kText));
  CHECK(frame.payload == "hello");

  client.send(kBinary, "one ");
  client.send(kFin | kPing, "are you there");
  client.send(0, "two ");
  client.send(kFin, "three");
  frame = client.read_frame();
  CHECK(frame.first == (kFin | kPong));
  CHECK(frame.payload == "are you there");
  frame = client.read_frame();
  CHECK(frame.first == (kFin | kBinary));
  CHECK(frame.payload == "one two three");

  WebSocketClient second = f.connect();
  second.send(kFin | kText, large);
  CHECK((second.read_frame().payload == large));

  client.send(kFin | kClose, close_payload(1000, "bye"));
  frame = client.read_frame();
  CHECK(frame.first == (kFin | kClose));
  CHECK(frame.code() == 1000);
  CHECK(client.ended());
  second.send(kFin | kClose, close_payload(3001));
  CHECK(second.read_frame().code() == 3001);
  REQUIRE(f.wait_done(2));
  CHECK(f.closed(CloseClass::kNormal) == 1);
  CHECK(f.closed(CloseClass::kApplication) == 1);
  CHECK(f.stats().open == 0);
  CHECK(f.stats().messages_in == 3);
  CHECK(f.stats().messages_out == 3);
}

TEST_CASE("P4.9: frames that came with the request are read first") {
  Fixture f({});
  WebSocketClient client =
      f.connect({}, client_frame(kFin | kText, "early") + client_frame(kText, "la"));
  REQUIRE(client.open());
  CHECK(client.read_frame().payload == "early");
  client.send(kFin, "ter");
  CHECK(client.read_frame().payload == "later");
}

TEST_CASE("P4.8: what does not open a WebSocket is answered as HTTP, and the connection goes on") {
  Fixture f({});
  RawClient client = f.server.connect();
  client.send(get_request("/ws"));
  RawResponse response = client.read_response();
  CHECK(response.status == 426);
  CHECK(response.header("upgrade") == "websocket");
  CHECK(response.header("sec-websocket-version") == "13");
  std::string wrong_version = upgrade_request("/ws");
  wrong_version.replace(wrong_version.find("13"), 2, "12");
  client.send(wrong_version);
  CHECK(client.read_response().status == 426);
  std::string wrong_key = upgrade_request("/ws");
  wrong_key.replace(wrong_key.find("dGhl"), 4, "");
  client.send(wrong_key);
  CHECK(client.read_response().status == 400);
  client.send(upgrade_request("/ws", "Origin: http://evil.test\r\n"));
  CHECK(client.read_response().status == 403);
  client.send(get_request("/hello"));
  CHECK(client.read_response().body == "hello\n");
  CHECK(f.notes.take() == "invalid_argument invalid_argument invalid_argument permission_denied");
  CHECK(f.stats().opened == 0);
}

TEST_CASE("a writer that cannot be hijacked gives 501 and unsupported") {
  Fixture f({});
  class Unhijackable final : public ForwardingResponseWriter {
   public:
    using ForwardingResponseWriter::ForwardingResponseWriter;
    Result<HijackedConnection> hijack() override { return ResponseWriter::hijack(); }
  };
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /ws", [&](ResponseWriter& response, Request& request) {
      Unhijackable wrapped(response);
      f.run(wrapped, request);
    });
  });
  CHECK(WebSocketClient(server.connect(), "/ws").response().status == 501);
  CHECK(f.notes.take() == "unsupported");
}

TEST_CASE("P4.8: a peer that breaks the protocol is told how, and the handler gets an error") {
  Fixture f({.message_bytes_max = kMessageBytesMax}, [&](WebSocket& socket) {
    Result<WebSocketMessage> message(WebSocketMessage{});
    while (message) message = socket.read_message(in(20s));
    f.notes.add(message);
    f.notes.add(socket.read_message(in(20s)));  // again
    f.notes.add(socket.send_text("x"));
  });
  int count = 0;
  for (const BadFrames& bad : bad_frames(kMessageBytesMax)) {
    INFO(bad.what);
    WebSocketClient client = f.connect();
    REQUIRE(client.open());
    client.raw().send(bad.bytes);
    const ServerFrame frame = client.read_frame();
    CHECK(frame.first == (kFin | kClose));
    CHECK(frame.code() == bad.code);
    CHECK_FALSE(frame.reason().empty());
    client.raw().half_close();
    CHECK(client.ended());
    REQUIRE(f.wait_done(++count));
    CHECK(f.notes.take() == (bad.code == 1009 ? "ok resource_exhausted resource_exhausted closed"
                                              : "ok invalid_argument invalid_argument closed"));
  }
  CHECK(f.closed(CloseClass::kRefused) == static_cast<std::uint64_t>(count));
  CHECK(f.server.get("/hello") == "200 hello\n");
}

TEST_CASE("messages are read and sent in pieces, and what is left of one is skipped") {
  Fixture f({}, [&](WebSocket& socket) {
    f.notes.add(socket.next_message(in(20s)));
    char two[2];
    f.notes.add(socket.read(two, in(20s)));  // "sk" of "skipped"
    const Result<MessageKind> kind = socket.next_message(in(20s));
    auto writer = socket.begin_message(*kind);
    while (true) {
      const Result<std::size_t> got = socket.read(two, in(20s));
      if (*got == 0) break;
      f.notes.add(writer->write({two, *got}));
      f.notes.add(socket.ping("p"));
    }
    f.notes.add(writer->finish());
    f.notes.add(writer->write("x"));  // finished
  });
  WebSocketClient client = f.connect();
  client.send(kText, "skip");
  client.send(kFin, "ped");
  client.send(kFin | kBinary, "abcd");
  const int expected[] = {kBinary, kFin | kPing, 0, kFin | kPing, kFin};
  const char* payloads[] = {"ab", "p", "cd", "p", ""};
  for (int i = 0; i < 5; ++i) {
    const ServerFrame frame = client.read_frame();
    CHECK(frame.first == expected[i]);
    CHECK(frame.payload == payloads[i]);
  }
  CHECK(client.read_frame().code() == 1000);  // the handler has returned
  client.send(kFin | kClose, close_payload(1000));
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok ok ok ok ok ok ok ok invalid_argument");
}

TEST_CASE("text that is not UTF-8 is not sent, and a message left unfinished ends with 1011") {
  Fixture f({}, [&](WebSocket& socket) {
    f.notes.add(socket.send_text("a\xff"));
    f.notes.add(socket.ping(std::string(126, 'p')));
    f.notes.add(socket.send_close(CloseCode::kNoStatus));
    auto writer = socket.begin_message(MessageKind::kText);
    f.notes.add(writer->write("half "));
    f.notes.add(writer->write("\xff"));
  });
  WebSocketClient client = f.connect();
  CHECK(client.read_frame().payload == "half ");
  CHECK(client.read_frame().code() == 1011);
  client.send(kFin | kClose, close_payload(1011));
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() ==
        "ok invalid_argument invalid_argument invalid_argument ok invalid_argument");
  CHECK(f.closed(CloseClass::kError) == 1);
}

TEST_CASE("threads send whole messages, one after the other, fragments or not") {
  constexpr int kEach = 50;
  Fixture f({}, [&](WebSocket& socket) {
    std::thread whole([&] {
      for (int i = 0; i < kEach; ++i) (void)socket.send_text(std::string(3000, 'w'));
    });
    std::thread pinger([&] {
      for (int i = 0; i < kEach; ++i) (void)socket.ping();
    });
    for (int i = 0; i < kEach; ++i) {
      auto writer = socket.begin_message(MessageKind::kText);
      for (int part = 0; part < 3; ++part) (void)writer->write(std::string(1000, 'f'));
      (void)writer->finish();
    }
    whole.join();
    pinger.join();
    echo(socket);
  });
  WebSocketClient client = f.connect();
  int whole = 0;
  int fragmented = 0;
  std::string message;
  while (whole + fragmented < 2 * kEach) {
    const ServerFrame frame = client.read_frame();
    REQUIRE(frame.first >= 0);
    if (frame.first == (kFin | kPing)) continue;
    message += frame.payload;
    if ((frame.first & kFin) == 0) continue;
    if (message == std::string(3000, 'w')) ++whole;
    if (message == std::string(3000, 'f')) ++fragmented;
    message.clear();
  }
  CHECK(whole == kEach);
  CHECK(fragmented == kEach);
}

TEST_CASE("closing: the handler's code and reason, its return, its exception") {
  const auto closes_with = [](Fixture::Talk talk) {
    Fixture f({}, std::move(talk));
    WebSocketClient client = f.connect();
    const ServerFrame frame = client.read_frame();
    client.send(kFin | kText, "too late");  // skipped
    client.send(kFin | kClose, frame.payload);
    CHECK(client.ended());
    CHECK(f.wait_done());
    return std::to_string(frame.code()) + " " + frame.reason();
  };
  CHECK(closes_with([](WebSocket&) {}) == "1000 ");
  CHECK(closes_with([](WebSocket&) { throw std::runtime_error("x"); }) == "1011 ");
  Notes notes;
  std::string answered;
  CHECK(closes_with([&](WebSocket& socket) {
          notes.add(socket.close(CloseCode{3333}, "my reason"));
          if (socket.peer_close()) answered = socket.peer_close()->reason;
          notes.add(socket.close());  // it is closed
        }) == "3333 my reason");
  CHECK(answered == "my reason");
  CHECK(notes.take() == "ok ok");
}

TEST_CASE("closing by the peer: the handler learns the code, and nothing can be sent any more") {
  std::optional<CloseStatus> status;
  Fixture f({}, [&](WebSocket& socket) {
    f.notes.add(socket.read_message(in(20s)));
    f.notes.add(socket.send_text("x"));
    status = socket.peer_close();
  });
  WebSocketClient client = f.connect();
  client.send(kFin | kClose, close_payload(1001, "tab closed"));
  CHECK(client.read_frame().code() == 1001);
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok closed closed");
  REQUIRE(status);
  CHECK(status->code == CloseCode::kGoingAway);
  CHECK(status->reason == "tab closed");
}

TEST_CASE(
    "a peer that never answers the close frame is cut at close_timeout, one that is gone at once") {
  Fixture f({.close_timeout = 100ms}, [&](WebSocket& socket) {
    f.notes.add(socket.read_message(in(50ms)));
    f.notes.add(socket.close());
    f.notes.add(socket.read_message(in(20s)));
  });
  WebSocketClient silent = f.connect();
  CHECK(silent.read_frame().code() == 1000);
  CHECK(silent.ended());
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok deadline_exceeded deadline_exceeded closed");
  CHECK(f.closed(CloseClass::kNormal) == 1);  // it was told

  f.talk = [&](WebSocket& socket) { f.notes.add(socket.read_message(in(20s))); };
  WebSocketClient gone = f.connect();
  gone.raw().close();
  REQUIRE(f.wait_done(2));
  CHECK(f.notes.take() == "ok closed");
  CHECK(f.closed(CloseClass::kLost) == 1);
}

TEST_CASE("a read that ran into its deadline goes on where it was") {
  std::atomic<bool> timed_out{false};
  Fixture f({}, [&](WebSocket& socket) {
    f.notes.add(socket.read_message(in(-1s)));
    Result<WebSocketMessage> message = socket.read_message(in(30ms));
    f.notes.add(message);
    timed_out = true;
    message = socket.read_message(in(20s));
    (void)socket.send_text(message->data);
  });
  WebSocketClient client =
      f.connect({}, client_frame(kText, "first ") + std::string("\x80\x86", 2));
  REQUIRE(eventually([&] { return timed_out.load(); }));
  client.raw().send(client_frame(kFin, "second").substr(2));
  CHECK(client.read_frame().payload == "first second");
  client.send(kFin | kClose);
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok deadline_exceeded deadline_exceeded");
}

TEST_CASE("a peer that does not read costs one write's deadline, and then the connection") {
  Fixture f({}, [&](WebSocket& socket) {
    f.notes.add(socket.send_binary(std::string(16 << 20, 'x'), in(50ms)));
    f.notes.add(socket.send_text("x"));
    f.notes.add(socket.read_message(in(20s)));  // at once
  });
  WebSocketClient client(RawClient(f.server->endpoint(), 4096), "/ws");
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok deadline_exceeded closed closed");
  CHECK(f.closed(CloseClass::kLost) == 1);
}

TEST_CASE(
    "keep-alive: a silent peer is asked, stays if it answers and is given up if it does not") {
  Fixture f({.ping_interval = 20ms, .pong_timeout = 200ms},
            [&](WebSocket& socket) { f.notes.add(socket.read_message()); });
  WebSocketClient client = f.connect();
  for (int i = 0; i < 3; ++i) {
    CHECK(client.read_frame().first == (kFin | kPing));
    client.send(kFin | kPong);
  }
  CHECK(client.read_frame().first == (kFin | kPing));
  CHECK(client.ended());  // not answered
  REQUIRE(f.wait_done());
  CHECK(f.notes.take() == "ok closed");
  CHECK(f.closed(CloseClass::kLost) == 1);
}
