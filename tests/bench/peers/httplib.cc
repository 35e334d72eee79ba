// cpp-httplib as a peer for `scripts/bench http`, with its defaults but a pool that fits the
// benchmark's connections: it keeps a thread for each.
//
// usage: bench-httplib PORT

#include <cstdio>

#include <httplib.h>

#include "tests/bench/arguments.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: bench-httplib PORT\n", stderr);
    return 2;
  }
  const int port = vigil::bench::port_argument("bench-httplib", argv[1]);
  httplib::Server server;
  server.new_task_queue = [] { return new httplib::ThreadPool(64); };
  server.set_keep_alive_max_count(1'000'000'000);
  server.set_tcp_nodelay(true);
  server.Get("/hello", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("hello, world\n", "text/plain; charset=utf-8");
  });
  return server.listen("127.0.0.1", port) ? 0 : 1;
}
