// The gperftools dialect, by the real google-pprof (perl) and by go tool pprof, which reads it too.

#include <atomic>
#include <regex>
#include <thread>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

// google-pprof keeps what it fetches below HOME.
Finished google_pprof(std::vector<std::string> arguments) {
  const TemporaryFolder home;
  arguments.insert(arguments.begin(), {"env", "HOME=" + home.path.string(), "google-pprof"});
  return run(arguments);
}

std::string legacy_url(const Demo& demo, const std::string& page) {
  return demo.debug_url("/pprof/" + page);
}

TEST_CASE("google-pprof --text reads /pprof/heap, with names and scaled up") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=262144").status == 200);
  const Finished text = google_pprof({"--text", legacy_url(demo, "heap")});
  INFO(text.out << text.err);
  REQUIRE(text.exit_status == 0);
  const std::regex row(
      R"(\n\s*([0-9.]+)\s+[0-9.]+%\s+[0-9.]+%\s+[0-9.]+\s+[0-9.]+% demo::remember\n)");
  std::smatch match;
  REQUIRE(std::regex_search(text.out, match, row));
  CHECK(std::stod(match[1]) == Approx(256).epsilon(0.2));

  const Finished go = go_pprof(
      {"-top", "-symbolize=remote", "-sample_index=inuse_space", legacy_url(demo, "heap")});
  INFO(go.out << go.err);
  CHECK(go.exit_status == 0);
  CHECK(go.out.find("demo::remember") != std::string::npos);
}

TEST_CASE("google-pprof --text reads /pprof/growth") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=262144").status == 200);
  const Finished text = google_pprof({"--text", legacy_url(demo, "growth")});
  INFO(text.out << text.err);
  CHECK(text.exit_status == 0);
  CHECK(text.out.find("demo::remember") != std::string::npos);
}

TEST_CASE("google-pprof --text and go tool pprof read /pprof/profile") {
  Demo demo;
  std::atomic<bool> stop{false};
  std::thread load([&] {
    while (!stop) http_get(demo.address(), "/work?ms=200");
  });
  const Finished text = google_pprof({"--text", "--seconds=2", legacy_url(demo, "profile")});
  const Finished go =
      go_pprof({"-top", "-symbolize=remote", legacy_url(demo, "profile?seconds=2")});
  stop = true;
  load.join();
  INFO(text.out << text.err << go.out << go.err);
  CHECK(text.exit_status == 0);
  CHECK(text.out.find("demo::checksum") != std::string::npos);
  CHECK(text.out.find("demo::compress") != std::string::npos);
  CHECK(go.exit_status == 0);
  CHECK(go.out.find("demo::checksum") != std::string::npos);
}

TEST_CASE("the symbol page answers jeprof's three requests") {
  Demo demo;
  const auto call = [&](const char* method, const std::string& body) {
    HttpCall request;
    request.method = method;
    request.path = "/pprof/symbol";
    request.body = body;
    request.content_type = "application/x-www-form-urlencoded";
    return http_call(demo.debug(), request);
  };
  CHECK(call("HEAD", "").status == 200);
  CHECK(call("GET", "").body == "num_symbols: 1\n");
  // An address of the program, from its own profile.
  const std::string heap = demo.debug_get("/debug/pprof/goroutine?debug=1").body;
  std::smatch address;
  REQUIRE(std::regex_search(heap, address, std::regex(R"(#\t0x([0-9a-f]+)\tvigil::)")));
  const std::string padded = "0x" + std::string(16 - address[1].length(), '0') + address[1].str();
  const HttpAnswer answer = call("POST", padded + "+" + padded);
  CHECK(answer.status == 200);
  const std::regex line("num_symbols: 1\n(0x" + address[1].str() + " _ZN5vigil\\S+\n){2}");
  INFO(answer.body);
  CHECK(std::regex_match(answer.body, line));
  CHECK(demo.debug_get("/pprof/cmdline").body.find("vigil-demo") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
