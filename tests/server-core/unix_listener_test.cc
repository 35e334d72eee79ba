// P7.1, P7.11: listening on a Unix socket: who may connect, what is replaced, what is left.
#include "server-core/unix_listener.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>
#include <latch>
#include <string>
#include <thread>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using http::UnixListener;

namespace {

constexpr int kBacklog = 8;
constexpr uid_t kOtherUser = 65'534;  // nobody

http::ServerOptions unix_options(const std::string& path) {
  http::ServerOptions options = test_options();
  options.listen.host.clear();
  options.unix_path = path;
  return options;
}

struct stat stat_of(const std::string& path) {
  struct stat found {};
  REQUIRE(lstat(path.c_str(), &found) == 0);
  return found;
}

bool exists(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0;
}

// A socket file that nobody listens on: as a killed process leaves it.
void leave_stale_socket(const std::string& path) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
}

Error error_of(const std::string& path) {
  const Result<UnixListener> opened = UnixListener::open(path, kBacklog);
  REQUIRE_FALSE(opened.ok());
  return opened.error();
}

std::string answer(RawClient& client) {
  client.send(get_request("/hello"));
  return client.read_response().body;
}

// What a child that has become another user reads: "" if the connection is closed without a byte,
// "-" if it cannot even connect.
std::string answer_to(uid_t user, const std::string& path) {
  int out[2];
  REQUIRE(pipe(out) == 0);
  const pid_t child = fork();
  if (child == 0) {
    std::string text = "-";
    if (setgid(user) == 0 && setuid(user) == 0) {
      RawClient client(path);
      if (client.connected()) text = answer(client);
    }
    [[maybe_unused]] const ssize_t written = ::write(out[1], text.data(), text.size());
    _exit(0);
  }
  ::close(out[1]);
  char bytes[64];
  const ssize_t got = ::read(out[0], bytes, sizeof(bytes));
  ::close(out[0]);
  waitpid(child, nullptr, 0);
  return std::string(bytes, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
}

}  // namespace

TEST_CASE("P7.1 a server listens on a Unix socket of mode 0600, alone or beside its port") {
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  const mode_t before = umask(0);  // what the umask would leave open
  http::ServerOptions options = unix_options(path);
  SECTION("alone") {}
  SECTION("beside a port") { options.listen = {"127.0.0.1", 0}; }
  const bool alone = options.listen.host.empty();
  {
    TestServer server(options);
    umask(before);
    const struct stat made = stat_of(path);
    CHECK(S_ISSOCK(made.st_mode));
    CHECK((made.st_mode & 07777) == 0600);
    CHECK(server->unix_path() == path);
    RawClient first(path);
    CHECK(answer(first) == "hello\n");
    CHECK(answer(first) == "hello\n");  // kept alive
    RawClient second(path);
    CHECK(answer(second) == "hello\n");
    CHECK((server->endpoint().port == 0) == alone);
    if (!alone) CHECK(server.get("/hello") == "200 hello\n");
    CHECK(server.stats().accepted >= 2);
  }
  CHECK_FALSE(exists(path));  // removed with the server
}

TEST_CASE("P7.1 a request through a Unix socket knows the user at its other end") {
  TemporaryFolder folder;
  TestServer server(unix_options(folder / "s"), [](http::Router& router) {
    REQUIRE(router
                .handle("GET /who",
                        [](http::ResponseWriter& response, http::Request& request) {
                          (void)response.write(request.remote_address().host);
                        })
                .ok());
  });
  RawClient client(folder / "s");
  client.send(get_request("/who"));
  CHECK(client.read_response().body == "unix(uid=" + std::to_string(geteuid()) + ")");
}

TEST_CASE("P7.1 another user's connection is dropped even where the socket's mode lets it in") {
  if (geteuid() != 0) return;  // only root can become another user
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  TestServer server(unix_options(path));
  REQUIRE(chmod(folder.path.string().c_str(), 0755) == 0);
  CHECK(answer_to(kOtherUser, path) == "-");  // 0600
  REQUIRE(chmod(path.c_str(), 0666) == 0);
  CHECK(answer_to(kOtherUser, path) == "");
  CHECK(eventually([&] { return server.stats().limits_hit.peer_user == 1; }));
  CHECK(server.sink.saw("another user's connection to the Unix socket dropped"));
  CHECK(answer_to(0, path) == "hello\n");
}

TEST_CASE("P7.1 the user behind a Unix socket passes if it is ours or root, nobody else") {
  http::SameUser filter(1000);
  const auto verdict = [&](uid_t user) {
    return filter.on_accept(http::PeerAddress::of_unix(user, 1, 1));
  };
  using Verdict = http::ListenerFilter::Verdict;
  CHECK(verdict(1000) == Verdict::kAdmit);
  CHECK(verdict(0) == Verdict::kAdmit);
  CHECK(verdict(1001) == Verdict::kDrop);
  CHECK(verdict(static_cast<uid_t>(-1)) == Verdict::kDrop);
  http::PeerAddress port;
  port.family = AF_INET;
  CHECK(filter.on_accept(port) == Verdict::kAdmit);
}

TEST_CASE("P7.11 a stale socket of ours is replaced, one that answers is not") {
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  leave_stale_socket(path);
  {
    TestServer server(unix_options(path));
    RawClient client(path);
    CHECK(answer(client) == "hello\n");
    CHECK(error_of(path).code() == ErrorCode::kBusy);
    RawClient still(path);
    CHECK(answer(still) == "hello\n");
  }
  CHECK(UnixListener::open(path, kBacklog).ok());
}

TEST_CASE("P7.11 what is no socket, or not ours, or a link, is left alone") {
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  SECTION("a file") {
    std::ofstream(path) << "precious";
    CHECK(error_of(path).code() == ErrorCode::kPermissionDenied);
    CHECK(stat_of(path).st_size == 8);
  }
  SECTION("a directory") {
    REQUIRE(mkdir(path.c_str(), 0700) == 0);
    CHECK(error_of(path).code() == ErrorCode::kPermissionDenied);
    CHECK(S_ISDIR(stat_of(path).st_mode));
  }
  SECTION("a link to a stale socket of ours") {
    leave_stale_socket(folder / "other");
    REQUIRE(symlink((folder / "other").c_str(), path.c_str()) == 0);
    CHECK(error_of(path).code() == ErrorCode::kPermissionDenied);
    CHECK(S_ISLNK(stat_of(path).st_mode));
    CHECK(exists(folder / "other"));
  }
  SECTION("a link that leads nowhere") {
    REQUIRE(symlink((folder / "nothing").c_str(), path.c_str()) == 0);
    CHECK(error_of(path).code() == ErrorCode::kPermissionDenied);
    CHECK_FALSE(exists(folder / "nothing"));
  }
  SECTION("another user's stale socket") {
    if (geteuid() != 0) return;
    leave_stale_socket(path);
    REQUIRE(lchown(path.c_str(), kOtherUser, kOtherUser) == 0);
    CHECK(error_of(path).code() == ErrorCode::kPermissionDenied);
    CHECK(S_ISSOCK(stat_of(path).st_mode));
  }
}

TEST_CASE("P7.11 no link is followed on the way to the directory either") {
  TemporaryFolder folder;
  REQUIRE(mkdir((folder / "real").c_str(), 0700) == 0);
  REQUIRE(mkdir((folder / "real/below").c_str(), 0700) == 0);
  REQUIRE(symlink((folder / "real").c_str(), (folder / "link").c_str()) == 0);
  CHECK(UnixListener::open(folder / "real/s", kBacklog).ok());
  for (const char* name : {"link/s", "link/below/s"}) {
    const Error error = error_of(folder / name);
    CHECK(error.code() == ErrorCode::kPermissionDenied);
    CHECK(error.message().find("\"link\"") != std::string::npos);
  }
  CHECK_FALSE(exists(folder / "real/s"));
}

TEST_CASE("P7.11 a directory in which others can exchange files is refused, a sticky one is not") {
  TemporaryFolder folder;
  const std::string shared = folder / "shared";
  REQUIRE(mkdir(shared.c_str(), 0700) == 0);
  const auto open_with = [&](mode_t mode) {
    REQUIRE(chmod(shared.c_str(), mode) == 0);
    return UnixListener::open(shared + "/s", kBacklog).ok();
  };
  CHECK(open_with(0755));
  CHECK_FALSE(open_with(0777));
  CHECK_FALSE(open_with(0775));
  CHECK(open_with(01777));
  if (geteuid() != 0) return;
  REQUIRE(chown(shared.c_str(), kOtherUser, kOtherUser) == 0);
  CHECK_FALSE(open_with(0755));
}

TEST_CASE("P7.11 bad paths are refused with a sentence") {
  CHECK(error_of("debug.sock").code() == ErrorCode::kInvalidArgument);
  CHECK(error_of("").code() == ErrorCode::kInvalidArgument);
  CHECK(error_of("/tmp/").code() == ErrorCode::kInvalidArgument);
  CHECK(error_of("/tmp/..").code() == ErrorCode::kInvalidArgument);
  CHECK(error_of(std::string("/tmp/a\0b", 8)).code() == ErrorCode::kInvalidArgument);
  CHECK(error_of("/nowhere-at-all/s").code() == ErrorCode::kNotFound);

  TemporaryFolder folder;
  const std::size_t left = UnixListener::kPathBytesMax - folder.path.string().size() - 1;
  CHECK(UnixListener::open(folder / std::string(left, 'x'), kBacklog).ok());
  CHECK(error_of(folder / std::string(left + 1, 'x')).code() == ErrorCode::kInvalidArgument);
}

TEST_CASE("P7.11 at its end a listener removes only its own socket, and only in its own process") {
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  Result<UnixListener> listener = UnixListener::open(path, kBacklog);
  REQUIRE(listener.ok());
  SECTION("a child of fork leaves it") {
    const pid_t child = fork();
    if (child == 0) {
      listener->close();
      _exit(0);
    }
    waitpid(child, nullptr, 0);
    CHECK(exists(path));
    CHECK(RawClient(path).connected());
  }
  SECTION("another one in its place stays") {
    REQUIRE(unlink(path.c_str()) == 0);
    const Result<UnixListener> second = UnixListener::open(path, kBacklog);
    REQUIRE(second.ok());
    listener->close();
    CHECK(exists(path));
    CHECK(RawClient(path).connected());
  }
  SECTION("closed twice, moved from") {
    UnixListener moved = *std::move(listener);
    listener->close();
    CHECK(exists(path));
    moved.close();
    moved.close();
    CHECK_FALSE(exists(path));
  }
}

TEST_CASE("P7.11 of many that want one stale path at the same time one gets it, and keeps it") {
  TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  constexpr int kThreads = 8;
  for (int round = 0; round < 300; ++round) {
    leave_stale_socket(path);
    std::vector<Result<UnixListener>> opened;
    for (int i = 0; i < kThreads; ++i) opened.emplace_back(Error(ErrorCode::kSystem, ""));
    {
      std::latch start(kThreads);
      std::vector<std::jthread> threads;
      for (auto& result : opened) {
        threads.emplace_back([&] {
          start.arrive_and_wait();
          result = UnixListener::open(path, kBacklog);
        });
      }
    }
    int winners = 0;
    for (const auto& result : opened) {
      if (result) ++winners;
      if (!result) CHECK(result.error().code() == ErrorCode::kBusy);
    }
    CHECK(winners == 1);
    CHECK(RawClient(path).connected());
  }
}

TEST_CASE("a server without an address and without a Unix socket is refused") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  http::ServerOptions options;
  options.listen.host.clear();
  const auto created = http::Server::create(
      options, [](http::ResponseWriter&, http::Request&) {}, registry, sink, clock);
  REQUIRE_FALSE(created.ok());
  CHECK(created.error().code() == ErrorCode::kInvalidArgument);
}

TEST_CASE("P4.1 a shutdown serves what waits in the Unix socket's backlog, then closes it") {
  TemporaryFolder folder;
  const std::string path = folder / "s";
  TestServer server(unix_options(path));
  RawClient holder(path);
  holder.send(get_request("/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  std::thread ending([&] { server->shutdown(server.clock.now() + 10s); });
  CHECK(eventually([&] { return !exists(path); }));
  server.gate.open();
  CHECK(holder.read_response().body == "released\n");
  ending.join();
}
