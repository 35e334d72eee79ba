#include <cstdio>
#include <optional>

#include <fmt/core.h>

#include "agent/client/http_client.h"
#include "agent/command/command.h"
#include "agent/command/screen.h"
#include "agent/command/task_table.h"

namespace vigil::command {
namespace {

using namespace std::chrono_literals;
using client::HttpClient;

constexpr Duration kRefresh = 1s;
constexpr Duration kAnswerTimeout = 5s;

MonotonicTime now() { return std::chrono::steady_clock::now(); }

// Looks at the server, again and again.
class Looker {
 public:
  explicit Looker(const client::DebugServer& server) : client_(server, kAnswerTimeout) {}

  Result<TopView> look() {
    const auto tasks_page = client::get_page(client_, "/debug/tasks?format=json");
    if (!tasks_page) return tasks_page.error();
    const auto stuck_page = client::get_page(client_, "/debug/leakwatch?format=json");
    if (!stuck_page) return stuck_page.error();
    auto tasks = endpoints::parse_tasks_json(*tasks_page);
    if (!tasks) return with_page("/debug/tasks", tasks.error());
    auto stuck = endpoints::parse_leakwatch_json(*stuck_page);
    if (!stuck) return with_page("/debug/leakwatch", stuck.error());
    const std::optional<double> rate = rate_of(tasks->started);
    return TopView{.address = client_.address(),
                   .tasks = *std::move(tasks),
                   .stuck = *std::move(stuck),
                   .started_per_second = rate};
  }

 private:
  Error with_page(std::string_view page, const Error& error) const {
    return Error(error).with_context(client::debug_url(client_.server(), page));
  }

  // Of the tasks that were started since the last look. None where the server has begun anew meanwhile.
  std::optional<double> rate_of(std::uint64_t started) {
    const MonotonicTime at = now();
    std::optional<double> rate;
    if (looked_at_ && started >= started_) {
      const std::chrono::duration<double> seconds = at - *looked_at_;
      rate = static_cast<double>(started - started_) / seconds.count();
    }
    looked_at_ = at;
    started_ = started;
    return rate;
  }

  HttpClient client_;
  std::optional<MonotonicTime> looked_at_;
  std::uint64_t started_ = 0;
};

// Without a terminal: one table of the whole.
void print_table(const TopView& view) {
  constexpr TableSize kUnlimited{.columns = 200, .rows = 100'000};
  for (const std::string& line : task_table(view, kUnlimited, TableStyle::kPlain)) {
    fmt::print("{}\n", line);
  }
}

// Until q. A server that does not answer any more is asked again: it may be on its way back.
void watch(Looker& looker, const TopView& first) {
  Screen screen;
  std::vector<std::string> lines = task_table(first, screen.size(), TableStyle::kTerminal);
  for (;;) {
    screen.draw(lines);
    const MonotonicTime next = now() + kRefresh;
    for (MonotonicTime at = now(); at < next; at = now()) {
      if (screen.wait_for_key(next - at) == Screen::Key::kQuit) return;
    }
    const auto view = looker.look();
    if (view) {
      lines = task_table(*view, screen.size(), TableStyle::kTerminal);
    } else {
      lines = {view.error().message(), "", "Asking again every second; q ends."};
    }
  }
}

}  // namespace

int top_command(int argc, char** argv) {
  client::DebugServer server;
  FlagTable flags(
      "vigil top",
      "Shows the tasks of the server at ADDRESS (127.0.0.1:6060) by route and age, again every\n"
      "second, until q. Where its output is no terminal: once.");
  add_server_flags(flags, server);
  if (const auto status = flags.parse(argc, argv)) return *status;
  Looker looker(server);
  const auto first = looker.look();
  if (!first) return fail("top", first.error().message());
  if (Screen::is_terminal()) {
    watch(looker, *first);
  } else {
    print_table(*first);
  }
  return kDone;
}

}  // namespace vigil::command
