// PUB-2: deadlines, as slow clients meet them. All clients of a test are slow at the same time.

#include <csignal>
#include <deque>
#include <functional>
#include <iomanip>

#include "tests/integration/http_battery.h"
#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/eventually.h"
#include "tests/support/sanitizer.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A slow client's life, and how it ended.
struct Slow {
  std::string name;
  Clock::duration deadline;           // when the server should end it
  std::vector<int> statuses;          // any of these; 0: silently
  std::function<void(Slow&)> behave;  // connects; sets `begin` when the deadline begins to run
  Clock::time_point begin{};
  Clock::duration took{};
  int status = 0;
};

// Reads until the server ends the connection, sending `drip` again every `pause` meanwhile.
void drip_until_end(Slow& slow, RawClient& client, std::string_view drip,
                    std::chrono::milliseconds pause) {
  const auto limit = slow.begin + 20s;
  while (!client.ended() && Clock::now() < limit) {
    if (!client.receive(pause) && !client.ended() && !drip.empty()) (void)client.send(drip);
  }
  slow.took = Clock::now() - slow.begin;
  const Answers answers = split_answers(client.take_received(), false);
  if (!client.ended() || !answers.left.empty() || answers.finals.size() > 1) {
    slow.status = -1;
  } else if (!answers.finals.empty()) {
    slow.status = answers.finals[0].status;
  }
}

// A client that sends `first` and then `drip` again and again.
std::function<void(Slow&)> drips(const HostPort& server, std::string first, std::string drip,
                                 std::chrono::milliseconds pause = 200ms) {
  return [=](Slow& slow) {
    slow.begin = Clock::now();
    RawClient client(server);
    if (!first.empty()) (void)client.send(first);
    drip_until_end(slow, client, drip, pause);
  };
}

// The same on a connection that has served a request and then rested for `rest`.
std::function<void(Slow&)> drips_later(const HostPort& server, std::chrono::milliseconds rest,
                                       std::string first, std::string drip) {
  return [=](Slow& slow) {
    RawClient client(server);
    (void)client.send(get(""));
    if (client.read_response().status != 200) slow.status = -1;
    std::this_thread::sleep_for(rest);
    slow.begin = Clock::now();
    if (!first.empty()) (void)client.send(first);
    drip_until_end(slow, client, drip, 200ms);
  };
}

void check_all(std::deque<Slow>& clients) {
  std::vector<std::thread> threads;
  for (Slow& client : clients) threads.emplace_back([&client] { client.behave(client); });
  for (std::thread& thread : threads) thread.join();
  for (const Slow& client : clients) {
    const auto ms = [](Clock::duration d) {
      return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
    };
    INFO(client.name << ": status " << client.status << " after " << ms(client.took)
                     << " ms, deadline " << ms(client.deadline) << " ms");
    CHECK(std::count(client.statuses.begin(), client.statuses.end(), client.status) == 1);
    // Early by nothing but the timer's tick, late by less than a fifth and less than a second.
    CHECK(client.took > client.deadline - client.deadline / 20);
    CHECK(client.took < client.deadline + std::min<Clock::duration>(client.deadline / 5, 1s));
  }
}

TEST_CASE("battery P2.1, P2.2, P2.4: slow heads, bodies and idle connections end on time") {
  Demo demo({"--read-header-timeout=3s", "--read-timeout=4s", "--write-timeout=20s",
             "--idle-timeout=3500ms"});
  const HostPort& at = demo.address();
  const std::string coded = chunked("");
  std::deque<Slow> clients;
  const auto add = [&](const char* name, Clock::duration deadline, std::vector<int> statuses,
                       std::function<void(Slow&)> behave) {
    clients.push_back({name, deadline, std::move(statuses), std::move(behave)});
  };
  add("P2.1 nothing", 3s, {0}, drips(at, "", ""));
  add("P2.1 half a head", 3s, {408}, drips(at, "GET /hello HTTP/1.1\r\nHo", ""));
  add("P2.1 a byte each 0.2 s", 3s, {408}, drips(at, "G", "E"));
  add("P2.1 a header byte each 0.2 s", 3s, {408}, drips(at, "GET / HTTP/1.1\r\nA: ", "x"));
  add("P2.1 a field each 0.4 s", 3s, {408}, drips(at, "GET / HTTP/1.1\r\n", "A: b\r\n", 400ms));
  add("P2.1 an empty line, then nothing", 3s, {408}, drips(at, "\r\n", ""));
  add("P2.2 a short body stalls", 4s, {408}, drips(at, post("Content-Length: 10\r\n", "hel"), ""));
  add("P2.2 a short body drips", 4s, {408}, drips(at, post("Content-Length: 1000\r\n"), "x"));
  add("P2.2 a long body stalls", 4s, {0, 408},
      drips(at, post("Content-Length: 100000\r\n", "x"), ""));
  add("P2.2 a long body drips", 4s, {0, 408}, drips(at, post("Content-Length: 100000\r\n"), "x"));
  add("P2.2 chunks stall", 4s, {0, 408}, drips(at, coded + "5\r\nhel", ""));
  add("P2.2 one-byte chunks", 4s, {0, 408}, drips(at, coded, "1\r\nx\r\n"));
  add("P2.2 a chunk's extension drips", 4s, {0, 408}, drips(at, coded + "5;", "x"));
  add("P2.2 endless trailers", 4s, {0, 408}, drips(at, coded + "0\r\n", "A: b\r\n"));
  add("P2.2 an expected body never comes", 4s, {0, 408},
      drips(at, post("Content-Length: 5\r\nExpect: 100-continue\r\n"), ""));
  add("P2.4 idle", 3500ms, {0}, drips_later(at, 0ms, "", ""));
  add("P2.4 the second head drips", 3s, {408}, drips_later(at, 2000ms, "G", "E"));
  add("P2.4 the second body drips", 4s, {408},
      drips_later(at, 2000ms, post("Content-Length: 1000\r\n"), "x"));
  // The twin: slower in all than every deadline, but in time each time.
  bool rearmed = true;
  std::thread patient([&] {
    RawClient client(at);
    for (int i = 0; i < 4; ++i) {
      std::this_thread::sleep_for(1500ms);
      rearmed &= client.send(get("")) && client.read_response().status == 200;
    }
  });
  check_all(clients);
  patient.join();
  CHECK(rearmed);
}

TEST_CASE("battery P2.3: a slow reader is cut at the write deadline, and its handler stops") {
  Demo demo({"--write-timeout=3s"});
  RawClient client(demo.address(), 4096);
  const auto begin = Clock::now();
  REQUIRE(client.send(get("", "/big?n=268435456")));
  demo.debug_get_until("/debug/tasks", "GET /big");
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop && client.receive(10s)) std::this_thread::sleep_for(200ms);
  });
  while (demo.debug_get("/debug/tasks").body.find("GET /big") != std::string::npos &&
         Clock::now() < begin + 20s) {
    std::this_thread::sleep_for(20ms);
  }
  const auto took = Clock::now() - begin;
  stop = true;
  reader.join();
  CHECK(took > 2850ms);
  CHECK(took < 3600ms);
  // What is still on its way comes, and then the end: no whole response.
  while (client.receive()) {
  }
  CHECK(client.ended());
  CHECK(client.take_received().size() < 200'000'000);
}

TEST_CASE("battery P2.5: the write deadline gives no late answer, the read deadline none at all") {
  Demo writes({"--read-timeout=20s", "--write-timeout=2500ms"});
  Demo reads({"--read-timeout=1s", "--read-header-timeout=1s", "--write-timeout=20s"});
  std::deque<Slow> clients;
  clients.push_back({"P2.5 handler over the write deadline",
                     2500ms,
                     {0, 503},
                     drips(writes.address(), get("Connection: close\r\n", "/sleep?ms=4000"), "")});
  // Ends when the handler does, not at the read deadline before that.
  clients.push_back({"P2.5 handler over the read deadline",
                     3s,
                     {200},
                     drips(reads.address(), get("Connection: close\r\n", "/sleep?ms=3000"), "")});
  check_all(clients);
}

TEST_CASE("battery P2.7: zero falls back to the read timeout, which stopping does not move") {
  Demo demo({"--read-header-timeout=0", "--idle-timeout=0", "--read-timeout=3s"});
  std::deque<Slow> clients;
  clients.push_back({"P2.7 idle", 3s, {0}, drips_later(demo.address(), 0ms, "", "")});
  clients.push_back({"P2.7 half a head", 3s, {408}, drips(demo.address(), "GET /", "")});
  clients.push_back({"P2.7 nothing", 3s, {0}, drips(demo.address(), "", "")});
  std::thread stopper([&] {
    for (int i = 0; i < 10; ++i) {
      std::this_thread::sleep_for(100ms);
      demo.process().kill(SIGSTOP);
      std::this_thread::sleep_for(50ms);
      demo.process().kill(SIGCONT);
    }
  });
  check_all(clients);
  stopper.join();
}

// GETs on new connections until told to stop.
struct Good {
  std::size_t served = 0;
  std::size_t failed = 0;
  Clock::duration worst{};
};
Good keep_asking(const HostPort& server, const std::atomic<bool>& stop) {
  Good good;
  while (!stop) {
    const auto begin = Clock::now();
    RawClient client(server);
    client.reset_on_close();
    (void)client.send(get(""));
    const bool served = client.read_response().status == 200;
    ++(served ? good.served : good.failed);
    good.worst = std::max(good.worst, Clock::now() - begin);
  }
  return good;
}

TEST_CASE("battery P2.10: 200 slow connections cost others nothing, and leave nothing behind") {
  Demo demo({"--read-header-timeout=4s", "--read-timeout=4s", "--write-timeout=4s"});
  const pid_t pid = demo.process().pid();
  const std::size_t descriptors = descriptor_count(pid);
  // Threads and memory as they are after a busy time, not after the start.
  (void)Background(demo.address(), "/sleep?ms=300", 200).join();
  REQUIRE(eventually([&] { return descriptor_count(pid) <= descriptors; }));
  const std::size_t threads = thread_count(pid);
  const std::size_t memory = resident_bytes(pid);
  REQUIRE(descriptors > 0);

  std::deque<RawClient> heads, bodies, readers;
  for (int i = 0; i < 67; ++i) {
    heads.emplace_back(demo.address());
    (void)heads.back().send("GET /hello HTTP/1.1\r\nA: ");
    bodies.emplace_back(demo.address());
    (void)bodies.back().send(post("Content-Length: 100000\r\n", "x"));
    if (i == 66) break;
    readers.emplace_back(demo.address(), 4096);
    (void)readers.back().send(get("", "/big?n=1073741824"));
  }
  std::atomic<bool> stop{false};
  Good good;
  std::thread asker([&] { good = keep_asking(demo.address(), stop); });
  std::size_t held_memory = 0, held = 0;
  const auto end = Clock::now() + 2500ms;
  while (Clock::now() < end) {
    for (RawClient& client : heads) (void)client.send("x");
    for (RawClient& client : bodies) (void)client.send("x");
    for (RawClient& client : readers) (void)client.receive(0ms);
    held = std::max(held, descriptor_count(pid));
    held_memory = std::max(held_memory, resident_bytes(pid));
    std::this_thread::sleep_for(200ms);
  }
  // All are still held: what was measured was measured beside them.
  CHECK(descriptor_count(pid) >= descriptors + 200);
  stop = true;
  asker.join();
  CHECK(good.failed == 0);
  CHECK(good.served > 100);
  // Behind one of them it would take until that one's deadline, 4 s.
  CHECK(good.worst < 2s);
  if (!kUnderSanitizer) CHECK(held_memory < memory + 200 * 64 * 1024);

  // The clients stay; the deadlines end them.
  const auto limit = Clock::now() + 10s;
  while (descriptor_count(pid) > descriptors && Clock::now() < limit) {
    std::this_thread::sleep_for(20ms);
  }
  CHECK(descriptor_count(pid) <= descriptors);
  while (thread_count(pid) > threads && Clock::now() < limit) std::this_thread::sleep_for(20ms);
  CHECK(thread_count(pid) <= threads);
  if (!kUnderSanitizer) CHECK(resident_bytes(pid) < memory + 4 * 1024 * 1024);
  CHECK(demo.get("/hello").status == 200);
}

}  // namespace
}  // namespace vigil::test
