#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <thread>

#include <fmt/core.h>

#include "agent/client/http_client.h"
#include "agent/client/progress.h"
#include "agent/command/command.h"
#include "base/fd.h"

namespace vigil::command {
namespace {

using namespace std::chrono_literals;
using client::DebugServer;
using client::HttpClient;

// Beyond what a capture takes: unwinding, symbols, the way here.
constexpr Duration kAnswerTimeout = 60s;
// What the pages accept.
constexpr int kSecondsMax = 300;

struct ProfileKind {
  std::string_view name;
  std::string_view path;  // below /debug/pprof/
  std::string_view what;
  enum class Time : std::uint8_t { kTakesSeconds, kAtOnce } time;
};
constexpr std::array kProfileKinds = {
    ProfileKind{"cpu", "profile", "CPU profile", ProfileKind::Time::kTakesSeconds},
    ProfileKind{"wall", "wall", "wall-clock profile", ProfileKind::Time::kTakesSeconds},
    ProfileKind{"heap", "heap", "heap profile", ProfileKind::Time::kAtOnce},
    ProfileKind{"allocs", "allocs", "allocations", ProfileKind::Time::kAtOnce},
    ProfileKind{"mutex", "mutex", "mutex contention", ProfileKind::Time::kAtOnce},
    ProfileKind{"block", "block", "blocking", ProfileKind::Time::kAtOnce},
    ProfileKind{"goroutine", "goroutine", "stacks of tasks and threads",
                ProfileKind::Time::kAtOnce},
};

struct FetchOptions {
  DebugServer server;
  const ProfileKind* kind = &kProfileKinds[0];
  int seconds = 0;  // 0: not given, or over at once
  int hz = 0;       // 0: the page's
  std::string output;
};

Result<void> set_kind(const ProfileKind*& target, std::string_view name) {
  std::string names;
  for (const ProfileKind& kind : kProfileKinds) {
    if (kind.name == name) {
      target = &kind;
      return {};
    }
    names += names.empty() ? "" : ", ";
    names += kind.name;
  }
  return Error(ErrorCode::kInvalidArgument, "not one of " + names);
}

// Shows, on a terminal, that something goes on while this thread waits for an answer.
class Waiting {
 public:
  Waiting(const std::string& command, std::string what)
      : thread_([this, command, what = std::move(what)](const std::stop_token& stop) {
          client::Progress progress("vigil " + command);
          std::unique_lock lock(mutex_);
          while (!stop.stop_requested()) {
            progress.step(what);
            stopped_.wait_for(lock, stop, 200ms, [] { return false; });
          }
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;
};

Result<void> write_all(int fd, std::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno != EINTR) return Error::from_errno(name, errno);
    if (wrote > 0) bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

// "-": stdout.
Result<void> write_output(const std::string& output, std::string_view bytes) {
  if (output == "-") return write_all(STDOUT_FILENO, bytes, "stdout");
  const UniqueFd file(::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file) return Error::from_errno(output, errno);
  return write_all(file.get(), bytes, output);
}

// "cpu-20261122-213817.pb.gz": one capture does not overwrite the one before.
std::string file_name(std::string_view kind, std::string_view suffix) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S", &parts);
  return fmt::format("{}-{}{}", kind, std::string_view(text.data(), size), suffix);
}

std::string profile_path(const FetchOptions& options) {
  std::string path = fmt::format("/debug/pprof/{}", options.kind->path);
  char separator = '?';
  if (options.seconds > 0) {
    path += fmt::format("{}seconds={}", std::exchange(separator, '&'), options.seconds);
  }
  if (options.hz > 0) path += fmt::format("{}hz={}", std::exchange(separator, '&'), options.hz);
  return path;
}

// `what`: for who waits, and who reads where it went ("CPU profile").
Result<std::string> fetch(const FetchOptions& options, const std::string& command,
                          std::string_view what, const std::string& path) {
  HttpClient client(options.server, kAnswerTimeout + std::chrono::seconds(options.seconds));
  const Waiting waiting(
      command, options.seconds > 0
                   ? fmt::format("{} of {} s at {}", what, options.seconds, client.address())
                   : "waiting for " + client.address());
  return client::get_page(client, path);
}

// `reader`: the command that reads it.
void say_where(const FetchOptions& options, std::string_view what, const std::string& output,
               std::string_view reader) {
  if (output == "-") return;
  const std::string time =
      options.seconds > 0 ? fmt::format(" of {} s", options.seconds) : std::string();
  fmt::print("{}{} of {}: {}\n{} {}\n", what, time, client::debug_server_name(options.server),
             output, reader, output);
}

// What does not go together; empty if all does.
std::string conflict(const FetchOptions& options) {
  if (options.hz == 0 || options.kind->time == ProfileKind::Time::kTakesSeconds) return "";
  return fmt::format("--hz does not go with --kind={}", options.kind->name);
}

int save_profile(FetchOptions options) {
  constexpr int kSecondsDefault = 10;
  if (options.seconds == 0 && options.kind->time == ProfileKind::Time::kTakesSeconds) {
    options.seconds = kSecondsDefault;
  }
  const auto body = fetch(options, "profile", options.kind->what, profile_path(options));
  if (!body) return fail("profile", body.error().message());
  const std::string output =
      options.output.empty() ? file_name(options.kind->name, ".pb.gz") : options.output;
  if (Result<void> written = write_output(output, *body); !written) {
    return fail("profile", written.error().message());
  }
  say_where(options, options.kind->what, output, "go tool pprof -top");
  return kDone;
}

}  // namespace

int profile_command(int argc, char** argv) {
  FetchOptions options;
  FlagTable flags(
      "vigil profile",
      "Saves a profile of the server whose debug listener is at ADDRESS (127.0.0.1:6060), for\n"
      "go tool pprof.");
  flags.add("kind", "NAME", "cpu, wall, heap, allocs, mutex, block or goroutine (cpu)",
            [&options](std::string_view name) { return set_kind(options.kind, name); });
  flags.add("seconds", "N",
            "how long (10); of a heap, allocs or goroutine profile: what came in that time (all)",
            size_flag(options.seconds, 1, kSecondsMax));
  flags.add("hz", "N", "samples a second of a cpu (100) or wall (50) profile",
            size_flag(options.hz, 1, 10'000));
  flags.add("output", "FILE", "where to; - for stdout (KIND-DATE-TIME.pb.gz)",
            text_flag(options.output));
  flags.add_letter('o', "output");
  add_server_flags(flags, options.server);
  if (const auto status = flags.parse(argc, argv)) return *status;
  if (const std::string wrong = conflict(options); !wrong.empty()) {
    fmt::print(stderr, "vigil profile: {}; see vigil profile --help\n", wrong);
    return kUsage;
  }
  return save_profile(options);
}

int dump_command(int argc, char** argv) {
  FetchOptions options{.output = "-"};
  FlagTable flags(
      "vigil dump",
      "Prints where every task and thread of the server at ADDRESS (127.0.0.1:6060) is. None of\n"
      "them is interrupted.");
  flags.add("output", "FILE", "where to (-: stdout)", text_flag(options.output));
  flags.add_letter('o', "output");
  add_server_flags(flags, options.server);
  if (const auto status = flags.parse(argc, argv)) return *status;
  const auto body = fetch(options, "dump", "dump", "/debug/pprof/goroutine?debug=2");
  if (!body) return fail("dump", body.error().message());
  const Result<void> written = write_output(options.output, *body);
  return written ? kDone : fail("dump", written.error().message());
}

int bundle_command(int argc, char** argv) {
  FetchOptions options{.seconds = 10};
  FlagTable flags(
      "vigil bundle",
      "Saves all that the server at ADDRESS (127.0.0.1:6060) says of itself, for a ticket: every\n"
      "profile, dump, report and metric, with its build information, as one tar.gz.");
  flags.add("seconds", "N", "how long its profiles are (10)",
            size_flag(options.seconds, 1, kSecondsMax));
  flags.add("output", "FILE", "where to; - for stdout (bundle-DATE-TIME.tar.gz)",
            text_flag(options.output));
  flags.add_letter('o', "output");
  add_server_flags(flags, options.server);
  if (const auto status = flags.parse(argc, argv)) return *status;
  const auto body =
      fetch(options, "bundle", "bundle", fmt::format("/debug/bundle?seconds={}", options.seconds));
  if (!body) return fail("bundle", body.error().message());
  const std::string output =
      options.output.empty() ? file_name("bundle", ".tar.gz") : options.output;
  if (Result<void> written = write_output(output, *body); !written) {
    return fail("bundle", written.error().message());
  }
  say_where(options, "bundle", output, "tar xzf");
  return kDone;
}

}  // namespace vigil::command
