// What a server does to the process that it is in: descriptors, signals, log.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;

namespace {

std::set<std::string> entries(const char* folder) {
  std::set<std::string> names;
  DIR* opened = opendir(folder);
  while (const dirent* entry = readdir(opened)) {
    const std::string name = entry->d_name;
    // Without our own, whose number the next one may have.
    if (name[0] != '.' && name != std::to_string(dirfd(opened))) names.insert(name);
  }
  closedir(opened);
  return names;
}

// The value of `name` in a file of "name:<space>value" lines, as a number of that base.
std::uint64_t field(const std::string& path, const std::string& name, int base) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(name + ":", 0) == 0) {
      return std::stoull(line.substr(name.size() + 1), nullptr, base);
    }
  }
  return 0;
}

bool has_signal(std::uint64_t mask, int signal) { return (mask >> (signal - 1)) & 1; }

void reset_connection(TestServer& server, const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server->endpoint().port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  ::close(fd);
}

}  // namespace

TEST_CASE(
    "P3.6: 3000 connections that are reset leave no descriptor and hardly a line in the log") {
  TestServer server;
  REQUIRE(server.get("/hello") == "200 hello\n");
  REQUIRE(eventually([&] { return server.stats().connections.open() == 0; }));
  const std::size_t before = entries("/proc/self/fd").size();
  for (int i = 0; i < 3000; ++i) reset_connection(server, i % 3 == 0 ? get_request("/hello") : "");
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(entries("/proc/self/fd").size() <= before);
  CHECK(server.sink.lines() <= 10);
  CHECK(server.get("/hello") == "200 hello\n");
}

TEST_CASE("P3.7: every descriptor of a server closes on exec") {
  const std::set<std::string> before = entries("/proc/self/fd");
  TestServer server;
  RawClient idle = server.connect_idle();
  RawClient busy = server.connect_held();
  int seen = 0;
  for (const std::string& fd : entries("/proc/self/fd")) {
    if (before.count(fd) != 0) continue;
    const std::uint64_t flags = field("/proc/self/fdinfo/" + fd, "flags", 8);
    INFO("descriptor " << fd);
    CHECK((flags & O_CLOEXEC) != 0);
    ++seen;
  }
  // Listener, reserve, two pollers with an eventfd each, two connections with both their ends.
  CHECK(seen >= 10);
}

TEST_CASE(
    "P3.8: the disposition of SIGPIPE is the program's, and writing to the gone is no signal") {
  struct sigaction before {};
  REQUIRE(sigaction(SIGPIPE, nullptr, &before) == 0);
  REQUIRE(before.sa_handler == SIG_DFL);  // so a signal would end this process
  TestServer server;
  for (int i = 0; i < 20; ++i) reset_connection(server, get_request("/big?n=5000000"));
  CHECK(eventually([&] { return server.write_errors > 0; }));
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  struct sigaction after {};
  REQUIRE(sigaction(SIGPIPE, nullptr, &after) == 0);
  CHECK(after.sa_handler == SIG_DFL);
}

TEST_CASE("engine threads block the program's signals, and none of the sampler's or the faults") {
  TestServer server;
  RawClient client = server.connect_held();
  const auto name_of = [](const std::string& task) {
    std::string name;
    std::getline(std::ifstream("/proc/self/task/" + task + "/comm"), name);
    return name;
  };
  // A thread gives itself its name.
  for (const std::string role : {"vigil-work", "vigil-moni"}) {
    INFO(role);
    CHECK(eventually([&] {
      const std::set<std::string> tasks = entries("/proc/self/task");
      return std::any_of(tasks.begin(), tasks.end(), [&](const std::string& task) {
        return name_of(task).rfind(role, 0) == 0;
      });
    }));
  }
  std::set<std::string> roles;
  for (const std::string& task : entries("/proc/self/task")) {
    const std::string name = name_of(task);
    if (name.rfind("vigil-", 0) != 0) continue;
    INFO(name);
    roles.insert(name.substr(6, 4));
    const std::uint64_t blocked = field("/proc/self/task/" + task + "/status", "SigBlk", 16);
    if (blocked == 0) continue;  // it has ended meanwhile
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGALRM})
      CHECK(has_signal(blocked, signal));
    for (int signal : {SIGPROF, SIGRTMIN, SIGRTMAX, SIGSEGV, SIGBUS, SIGFPE}) {
      CHECK_FALSE(has_signal(blocked, signal));
    }
  }
  CHECK(roles == std::set<std::string>{"moni", "poll", "work"});
}
