// The overview's figures and rows, the table of connections, and archives.
#include "endpoints/overview.h"

#include <fstream>

#include "endpoints/conns.h"
#include "endpoints/tar_gz.h"
#include "tests/support/catch.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_folder.h"

using namespace std::chrono_literals;

namespace vigil::endpoints {
namespace {

http::HandlerStats stats_of(std::initializer_list<std::pair<std::size_t, std::uint64_t>> classes) {
  http::HandlerStats stats;
  for (const auto& [index, count] : classes) {
    stats.durations[index] = count;
    stats.status_classes[2] += count;
  }
  return stats;
}

TEST_CASE("a quantile is the bound of the class that it falls into") {
  const auto& bounds = http::HandlerStats::kBounds;
  CHECK(quantile_bound({}, 0.5) == Duration(0));
  const http::HandlerStats stats = stats_of({{0, 98}, {6, 1}, {15, 1}});
  CHECK(quantile_bound(stats, 0.5) == bounds[0]);
  CHECK(quantile_bound(stats, 0.98) == bounds[0]);
  CHECK(quantile_bound(stats, 0.99) == bounds[6]);
  CHECK(quantile_bound(stats, 1) == Duration::max());
}

TEST_CASE("the overview escapes what the program chose, and marks what is wrong") {
  Overview overview;
  overview.program = "serve <script>";
  RouteOverview route;
  route.server = "a\"b";
  route.pattern = "GET /<x>";
  route.requests = 7;
  route.errors = 2;
  route.running = 3;
  route.oldest = 90s;
  overview.routes.push_back(route);
  overview.metrics.watchdog.stuck_now = 3;
  const std::string page = overview_html(overview);
  CHECK(page.find("serve &lt;script&gt;") != std::string::npos);
  CHECK(page.find("GET /&lt;x&gt;") != std::string::npos);
  CHECK(page.find("<x>") == std::string::npos);
  CHECK(page.find("a\"b") == std::string::npos);
  CHECK(page.find("1m30s") != std::string::npos);
  CHECK(page.find("\"figure bad\"") != std::string::npos);
  CHECK(page.find("\"n bad\">2<") != std::string::npos);

  overview.metrics.watchdog.stuck_now = 0;
  CHECK(overview_html(overview).find("\"figure bad\"") == std::string::npos);
}

TEST_CASE("the page of the overview loads nothing from elsewhere") {
  const std::string page = overview_html({});
  for (const char* part : {"src=", "http:", "https:", "@import", "url("}) {
    INFO(part);
    const std::size_t at = page.find(part);
    // A namespace's name is no address that is loaded.
    CHECK((at == std::string::npos || page.compare(at, 26, "http://www.w3.org/2000/svg") == 0));
  }
}

TEST_CASE("connections as text: counted by state, what is missing is said") {
  ServerConnections server;
  server.server = "main";
  http::ConnectionInfo info;
  info.remote = {"10.0.0.9", 4711};
  info.state = "handling";
  info.age = 90s;
  info.received_bytes = 2048;
  info.retransmits = 3;
  server.listing.connections.push_back(info);
  server.work.push_back({"GET /x", 2s});
  server.listing.left_out = 5;
  server.listing.pollers_silent = 1;
  const std::string text = format_connections({server});
  CHECK(text.find("server main: 1 connections, 1 handling; 5 more are not listed") == 0);
  CHECK(text.find("1 polling threads did not answer") != std::string::npos);
  CHECK(text.find("10.0.0.9:4711") != std::string::npos);
  CHECK(text.find("2.0 KiB") != std::string::npos);
  CHECK(text.find("GET /x for 2s [3 retransmits]") != std::string::npos);
  CHECK(format_connections({}).find("no server") == 0);
}

TEST_CASE("an archive is read by tar, piece by piece, with its times") {
  test::TemporaryFolder folder;
  std::ofstream file(folder / "x.tar.gz", std::ios::binary);
  auto tar = TarGz::create([&file](std::string_view bytes) -> Result<void> {
    file << bytes;
    return {};
  });
  REQUIRE(tar.ok());
  const WallTime time{std::chrono::seconds(1'700'000'000)};
  const std::string large(3'000'000, 'x');
  CHECK(tar->add("empty", "", time).ok());
  CHECK(tar->add("small.txt", "hello\n", time).ok());
  CHECK(tar->add("large", large, time).ok());
  CHECK(tar->finish().ok());
  file.close();
  const auto listed =
      test::run({"env", "TZ=UTC", "tar", "--full-time", "-tvzf", folder / "x.tar.gz"});
  CHECK(listed.exit_status == 0);
  CHECK(listed.err.empty());
  CHECK(listed.out.find("2023-11-14 22:13:20") != std::string::npos);
  CHECK(listed.out.find("3000000") != std::string::npos);
  CHECK(test::run({"tar", "-xzOf", folder / "x.tar.gz", "small.txt"}).out == "hello\n");
}

TEST_CASE("an archive whose receiver leaves, or that is not finished, is no whole one") {
  std::string bytes;
  std::size_t taken = 0;
  {
    auto tar = TarGz::create([&](std::string_view part) -> Result<void> {
      if (taken++ > 0) return Error(ErrorCode::kClosed, "gone");
      bytes += part;
      return {};
    });
    REQUIRE(tar.ok());
    std::string noise(2'000'000, '\0');
    unsigned state = 1;
    for (char& c : noise) c = static_cast<char>((state = state * 1103515245 + 12345) >> 16);
    const Result<void> added = tar->add("noise", noise, {});
    REQUIRE_FALSE(added.ok());
    CHECK(added.error().code() == ErrorCode::kClosed);
    CHECK_FALSE(tar->finish().ok());
  }
  CHECK(taken >= 2);

  test::TemporaryFolder folder;
  {
    std::ofstream file(folder / "x.tar.gz", std::ios::binary);
    auto tar = TarGz::create([&file](std::string_view part) -> Result<void> {
      file << part;
      return {};
    });
    REQUIRE(tar.ok());
    CHECK(tar->add("a", "text", {}).ok());
  }
  CHECK(test::run({"gzip", "-t", folder / "x.tar.gz"}).exit_status != 0);
}

}  // namespace
}  // namespace vigil::endpoints
