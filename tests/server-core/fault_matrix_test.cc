// P9.3, the fault matrix of the server: whole lives of a server, from create() to the end of its destructor, in which the
// first, the second, … the n-th call of one sort fails, is short or is interrupted, until a life passes with fewer calls.
//
// A life is right if everything that a client is told is true, a fault that leaves nothing lost (an interruption, a short
// read) loses nothing, the server serves again afterwards, and nothing is left when it has gone: no descriptor, no thread,
// no task.
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/text.h"
#include "server-core/tls.h"
#include "server-core/websocket.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/faults.h"
#include "tests/support/http2_client.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_client.h"
#include "tests/support/websocket_client.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;

namespace {

std::size_t entries(const char* folder) {
  namespace fs = std::filesystem;
  const auto all = fs::directory_iterator(folder);
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}
std::size_t open_descriptors() { return entries("/proc/self/fd"); }
std::size_t live_threads() { return entries("/proc/self/task"); }

// What a client may be told.
enum class Loss : std::uint8_t {
  kNone,     // the fault is to be made good: every answer is right
  kRefused,  // an error, or the end of the connection, in place of an answer
};

struct ServerFault {
  Fault fault;
  Loss loss;
};

constexpr ServerFault kSocketFaults[] = {
    {{"socket: EMFILE", Call::kSocket, EMFILE}, Loss::kRefused},
    {{"bind: EADDRINUSE", Call::kBind, EADDRINUSE}, Loss::kRefused},
    {{"listen: EADDRINUSE", Call::kListen, EADDRINUSE}, Loss::kRefused},
    {{"accept: EMFILE", Call::kAccept, EMFILE}, Loss::kRefused},
    {{"accept: ENOMEM", Call::kAccept, ENOMEM}, Loss::kNone},
    {{"accept: EINTR", Call::kAccept, EINTR}, Loss::kNone},
    {{"accept: ECONNABORTED", Call::kAccept, ECONNABORTED}, Loss::kNone},
    {{"recv: ECONNRESET", Call::kRecv, ECONNRESET}, Loss::kRefused},
    {{"recv: ENOMEM", Call::kRecv, ENOMEM}, Loss::kRefused},
    {{"recv: EINTR", Call::kRecv, EINTR}, Loss::kNone},
    {{"recv: EAGAIN", Call::kRecv, EAGAIN}, Loss::kNone},
    {{"recv: one byte", Call::kRecv, 0}, Loss::kNone},
    {{"send: EPIPE", Call::kSend, EPIPE}, Loss::kRefused},
    {{"send: EINTR", Call::kSend, EINTR}, Loss::kNone},
    {{"send: EAGAIN", Call::kSend, EAGAIN}, Loss::kNone},
    {{"send: one byte", Call::kSend, 0}, Loss::kNone},
    {{"setsockopt: EINVAL", Call::kSetsockopt, EINVAL}, Loss::kNone},
    {{"getsockopt: ENOBUFS", Call::kGetsockopt, ENOBUFS}, Loss::kRefused},
};

constexpr ServerFault kOtherFaults[] = {
    {{"fcntl: EINVAL", Call::kFcntl, EINVAL}, Loss::kRefused},
    {{"epoll_create1: EMFILE", Call::kEpollCreate, EMFILE}, Loss::kRefused},
    {{"epoll_ctl: ENOSPC", Call::kEpollCtl, ENOSPC}, Loss::kRefused},
    {{"epoll_wait: EINTR", Call::kEpollWait, EINTR}, Loss::kNone},
    {{"eventfd: EMFILE", Call::kEventfd, EMFILE}, Loss::kRefused},
    {{"poll: EINTR", Call::kPoll, EINTR}, Loss::kNone},
    {{"poll: ENOMEM", Call::kPoll, ENOMEM}, Loss::kRefused},
    {{"open: EMFILE", Call::kOpen, EMFILE}, Loss::kRefused},
    // The event descriptors' own: EAGAIN would need 2^64 wakes.
    {{"write: EINTR", Call::kWrite, EINTR}, Loss::kNone},
    {{"pthread_create: EAGAIN", Call::kPthreadCreate, EAGAIN}, Loss::kRefused},
};

constexpr ServerFault kMemoryFaults[] = {
    {{"malloc: ENOMEM", Call::kMalloc, ENOMEM}, Loss::kRefused},
};

using Tls = std::shared_ptr<http::TlsContext>;

// Clients, one after the other, which note what must not be. One that waits in vain gives up after ten seconds.
class Clients {
 public:
  Clients(const http::Server& server, const ServerFault& fault, std::vector<std::string>& wrong)
      : server_(server.endpoint()),
        unix_path_(server.unix_path()),
        loss_(fault.loss),
        call_(fault.fault.call),
        wrong_(wrong) {}

  void use_everything() {
    use_http1([this](int receive_buffer) {
      return std::make_unique<RawClient>(server_, receive_buffer);
    });
    keep_alive(RawClient(unix_path_));
    reset_in_the_middle();
    http2();
    websocket();
  }
  void use_tls() {
    use_http1([this](int receive_buffer) {
      return std::make_unique<TlsClient>(server_,
                                         TlsClientOptions{.receive_buffer_bytes = receive_buffer});
    });
  }

 private:
  using Connect = std::function<std::unique_ptr<RawClient>(int receive_buffer)>;

  void expect(bool holds, const std::string& what) {
    if (!holds) wrong_.push_back(what);
  }
  // One answer of HTTP/1.1: the right one, or, where it may be lost, an honest refusal. false: the
  // connection is of no more use.
  bool answered(RawClient& client, const char* what, const std::string& body) {
    const RawResponse response = client.read_response();
    if (response.status == 200 && response.complete) {
      expect(response.body == body, std::string(what) + ": another body");
      return response.header("connection") != "close";
    }
    const bool refused = response.status == 0 || response.status >= 400 || !response.complete;
    expect(refused, std::string(what) + ": " + std::to_string(response.status));
    expect(loss_ == Loss::kRefused, std::string(what) + ": lost");
    return response.complete && response.header("connection") != "close";
  }

  void use_http1(const Connect& connect) {
    keep_alive(*connect(0));
    upload(*connect(0), "Content-Length: 70000", std::string(70'000, 'b'));
    upload(*connect(0), "Transfer-Encoding: chunked", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
           "hello world");
    download(*connect(8192));
    pipeline(*connect(0));
  }
  void keep_alive(RawClient&& client) { keep_alive(client); }
  void keep_alive(RawClient& client) {
    for (int i = 0; i < 3; ++i) {
      client.send(get_request("/hello"));
      if (!answered(client, "GET", "hello\n")) return;
    }
  }
  void upload(RawClient& client, const std::string& framing, const std::string& sent,
              std::string body = {}) {
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\n" + framing + "\r\n\r\n");
    client.send(sent);
    (void)answered(client, "POST", body.empty() ? sent : body);
  }
  void download(RawClient& client) {
    client.send(get_request("/big?n=300000"));
    (void)answered(client, "big", std::string(300'000, 'x'));
  }
  void pipeline(RawClient& client) {
    client.send(get_request("/hello") + get_request("/noread") + get_request("/hello"));
    (void)(answered(client, "first", "hello\n") && answered(client, "second", "unread\n") &&
           answered(client, "third", "hello\n"));
  }
  void reset_in_the_middle() {
    RawClient client(server_, 4096);
    client.reset_on_close();
    client.send(get_request("/big?n=10000000"));
    // More than the socket's buffer takes (tcp_wmem: 4 MiB) is out only after the handler has waited in poll().
    std::size_t wanted = call_ == Call::kPoll ? 6'000'000 : 1;
    while (wanted > 0 && client.receive()) {
      wanted -= std::min(wanted, client.take_received().size());
    }
  }
  void http2() {
    Http2Client client{RawClient(server_)};
    const auto expected = [&](const std::string& got, const std::string& right, const char* what) {
      if (got == right) return;
      expect(!got.starts_with("200 "), std::string(what) + ": " + got.substr(0, 30));
      expect(loss_ == Loss::kRefused, std::string(what) + ": lost: " + got);
    };
    expected(client.get(1, "/hello"), "200 hello\n", "stream");
    if (client.raw.ended()) return;
    expected(client.exchange(3, h2::post(3, "/echo") + h2::data(3, "body")), "200 body", "upload");
    if (client.raw.ended()) return;
    expected(client.get(5, "/big?n=20000"), "200 " + std::string(20'000, 'x'), "download");
    expect(client.reader.sound(), "frames that are none");
  }
  void websocket() {
    WebSocketClient client(RawClient(server_), "/ws");
    if (client.open()) {
      client.send(kFin | kText, "hello");
      const ServerFrame frame = client.read_frame();
      if (frame.first == (kFin | kText)) {
        expect(frame.payload == "hello", "a WebSocket's message is another");
        client.send(kFin | kClose, std::string("\x03\xe8", 2));
        (void)client.read_frame();
        return;
      }
    }
    expect(loss_ == Loss::kRefused, "a WebSocket: lost");
  }

  const HostPort server_;
  const std::string unix_path_;
  const Loss loss_;
  const Call call_;
  std::vector<std::string>& wrong_;
};

void hello(http::ResponseWriter& response, http::Request&) { (void)response.write("hello\n"); }

void unread(http::ResponseWriter& response, http::Request&) { (void)response.write("unread\n"); }

void echo(http::ResponseWriter& response, http::Request& request) {
  char bytes[4096];
  while (true) {
    const Result<std::size_t> got = request.read(bytes);
    if (!got) return http::write_error(response, 400);
    if (*got == 0 || !response.write({bytes, *got})) return;
  }
}

void big(http::ResponseWriter& response, http::Request& request) {
  const std::string block(10'000, 'x');
  const auto bytes = parse_integer(request.query("n").value_or("0"), 0, 10'000'000);
  for (std::int64_t left = bytes.ok() ? *bytes : 0; left > 0; left -= 10'000) {
    if (!response.write(block)) return;
  }
}

// Its client reads nothing: it ends at a deadline of its own, which a thread of the engine's keeps.
void late(http::ResponseWriter& response, http::Request&) {
  response.set_write_deadline(SystemClock().now() + 5ms);
  const std::string block(10'000, 'x');
  while (response.write(block)) {
  }
}

void echo_messages(http::ResponseWriter& response, http::Request& request) {
  Result<http::WebSocket> socket = http::upgrade_websocket(response, request, {});
  if (!socket) return;
  while (auto message = socket->read_message(in(5s))) {
    if (!socket->send(message->kind, message->data)) return;
  }
}

// What a server needs, made without faults.
struct Parts {
  explicit Parts(const Tls& tls) {
    options.tls = tls;
    options.http2_cleartext = tls == nullptr;
    options.threads_ahead = 1;
    options.descriptors_reserved = 1;
    if (tls == nullptr) options.unix_path = folder / "socket";
    add(router, "GET /hello", hello);
    add(router, "/noread", unread);
    add(router, "/echo", echo);
    add(router, "GET /big", big);
    add(router, "GET /late", late);
    add(router, "GET /ws", echo_messages);
  }

  TemporaryFolder folder;
  SystemClock clock;
  NullSink sink;
  http::ServerOptions options = test_options();
  leakwatch::TaskRegistry registry{clock};
  http::Router router{registry};
};

using ServerResult = Result<std::unique_ptr<http::Server>>;

// A server that listens, or why there is none.
ServerResult started(Parts& parts) {
  try {
    auto created =
        http::Server::create(parts.options, parts.router, parts.registry, parts.sink, parts.clock);
    if (!created) return created;
    if (Result<void> ok = (*created)->start(); !ok) return std::move(ok).error();
    return created;
  } catch (const std::bad_alloc&) {
    const Unharmed text;
    return Error(ErrorCode::kResourceExhausted, "std::bad_alloc");
  }
}

struct Life {
  std::uint64_t calls = 0;
  std::vector<std::string> wrong;  // what must not be
};

class Lives {
 public:
  Lives(const ServerFault& fault, Tls tls) : fault_(fault), tls_(std::move(tls)) {}

  // One with the n-th call as the fault says.
  Life live(std::uint64_t n) {
    life_ = {};
    Parts parts(tls_);
    const std::size_t descriptors = open_descriptors();
    const FaultAt fault(fault_.fault, n);
    {
      ServerResult server = started(parts);
      if (!server) server = second_start(parts, server.error().message());
      if (server) use(**server);
      if (server) (void)(*server)->shutdown(in(5s));
    }
    const Unharmed us;
    life_.calls = fault.calls();
    expect(eventually([&] { return open_descriptors() == descriptors; }), "descriptors are left");
    expect(eventually([&] { return live_threads() == 1; }), "threads are left");
    expect(parts.registry.snapshot().empty(), "tasks are left");
    return std::move(life_);
  }

 private:
  void expect(bool holds, const std::string& what) {
    if (!holds) life_.wrong.push_back(what);
  }

  ServerResult second_start(Parts& parts, const std::string& why) {
    const Unharmed us;
    expect(fault_.loss == Loss::kRefused, "no start: " + why);
    expect(why.size() > 5, "no start, and no reason");
    ServerResult server = started(parts);
    expect(server.ok(), "no second start");
    return server;
  }

  void use(http::Server& server) {
    const Unharmed us;
    Clients clients(server, fault_, life_.wrong);
    tls_ == nullptr ? clients.use_everything() : clients.use_tls();
    const auto serves = [&] {
      std::unique_ptr<RawClient> client;
      if (tls_ == nullptr) {
        client = std::make_unique<RawClient>(server.endpoint());
      } else {
        client = std::make_unique<TlsClient>(server.endpoint());
      }
      client->send(get_request("/hello"));
      return client->read_response().body == "hello\n";
    };
    expect(eventually(serves), "serves no more");
    expect(eventually([&] { return server.stats().connections.open() == 0; }),
           "connections are left");
  }

  const ServerFault& fault_;
  const Tls tls_;
  Life life_;
};

// Each fault at the first, the second, … call.
constexpr int kTriesMax = 10;
void try_all(std::span<const ServerFault> faults, const Tls& tls = nullptr) {
  // What is made once in a process is made before anything is counted.
  static constexpr ServerFault kNone{{"none", Call::kTimerCreate, EAGAIN}, Loss::kNone};
  for (int i = 0; i < 2; ++i) CHECK(Lives(kNone, tls).live(1).wrong == std::vector<std::string>{});
  for (const ServerFault& fault : faults) {
    Lives lives(fault, tls);
    std::uint64_t n = 0;
    std::uint64_t calls = 0;
    int tries = 0;
    do {
      // A life in which nothing had to wait, in poll(), is lived again: that is the machine's doing.
      if (n == 0 || calls > 0) n = next_fault(n);
      const auto begin = std::chrono::steady_clock::now();
      const Life life = lives.live(n);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      calls = life.calls;
      INFO(fault.fault.name << ", call " << n << " of " << calls);
      CHECK(life.wrong == std::vector<std::string>{});
      CHECK(took.count() < 5);
    } while (calls >= n || (n == 1 && ++tries < kTriesMax));
    INFO(fault.fault.name);
    CHECK(n > 1);  // the server makes such calls
  }
}

}  // namespace

TEST_CASE("P9.3: whole lives of a server while the n-th call of its sockets fails or is short") {
  try_all(kSocketFaults);
}

TEST_CASE("P9.3: whole lives of a server while the n-th epoll_wait, open, write, … fails") {
  try_all(kOtherFaults);
}

TEST_CASE("P9.3: whole lives of a server while the n-th allocation fails") {
  try_all(kMemoryFaults);
}

TEST_CASE(
    "P9.3: allocations that fail while streams are cut at a deadline and the server goes down") {
  static constexpr Fault kFault{"malloc: ENOMEM", Call::kMalloc, ENOMEM};
  std::uint64_t n = 0;
  std::uint64_t calls = 0;
  do {
    Parts parts(nullptr);
    const std::size_t descriptors = open_descriptors();
    {
      ServerResult server = started(parts);
      REQUIRE(server.ok());
      Http2Client client{RawClient((*server)->endpoint())};
      REQUIRE(client.get(1, "/hello") == "200 hello\n");
      const FaultAt fault(kFault, ++n);
      {
        const Unharmed us;
        client.send(h2::get(3, "/late"));
        // Cut, or the connection is closed because there was no memory.
        INFO("allocation " << n);
        CHECK((client.answered(3) || client.raw.ended()));
      }
      (void)(*server)->shutdown(in(5s));
      calls = fault.calls();
    }
    INFO("allocation " << n << " of " << calls);
    CHECK(eventually([&] { return open_descriptors() == descriptors; }));
    CHECK(parts.registry.snapshot().empty());
  } while (calls >= n);
  CHECK(n > 20);
}

// What the handshake and the records add: the rest is the same.
TEST_CASE(
    "P9.3: whole lives of a server that speaks TLS while the n-th recv, send or allocation fails") {
  TestPki pki;
  const TestCertificate certificate = pki.issue("shop", "shop.test", {"shop.test"});
  SystemClock clock;
  http::TlsOptions options;
  options.certificates = {{certificate.chain_file, certificate.key_file}};
  auto tls = http::TlsContext::load(std::move(options), clock);
  REQUIRE(tls.ok());
  const ServerFault faults[] = {
      {{"recv: ECONNRESET", Call::kRecv, ECONNRESET}, Loss::kRefused},
      {{"recv: EINTR", Call::kRecv, EINTR}, Loss::kNone},
      // Not "recv: one byte": that a read which is short has emptied the socket is what epoll(7) promises, and
      // TlsChannel goes by it.
      {{"send: EPIPE", Call::kSend, EPIPE}, Loss::kRefused},
      {{"send: EAGAIN", Call::kSend, EAGAIN}, Loss::kNone},
      {{"send: one byte", Call::kSend, 0}, Loss::kNone},
      {{"malloc: ENOMEM", Call::kMalloc, ENOMEM}, Loss::kRefused},
  };
  try_all(faults, *tls);
}
