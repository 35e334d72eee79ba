// vigil-leakcheck: whether a server keeps what it should have ended. docs/leak-check.md.

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include <fmt/core.h>

#include "agent/leakcheck/check.h"
#include "agent/leakcheck/child.h"
#include "agent/leakcheck/interruption.h"
#include "agent/leakcheck/options.h"
#include "agent/leakcheck/self_test.h"
#include "leakwatch/leakcheck/check_report.h"

namespace {

using namespace std::chrono_literals;
using namespace vigil;             // NOLINT: a program's only file with main
using namespace vigil::leakcheck;  // NOLINT

int fail(std::string_view message) {
  fmt::print(stderr, "vigil-leakcheck: {}\n", message);
  return kCouldNotCheck;
}

Result<std::vector<leakwatch::AllowEntry>> read_allow_list(const std::string& path) {
  if (path.empty()) return std::vector<leakwatch::AllowEntry>();
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file) return Error(ErrorCode::kNotFound, path + ": cannot be read");
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  auto entries = leakwatch::parse_allow_list(text.str(), today);
  // "FILE:LINE: …", as compilers write it.
  if (!entries) return Error(entries.error().code(), path + ":" + entries.error().message());
  return entries;
}

Result<void> write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return {};
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) return Error(ErrorCode::kSystem, path + ": cannot be written");
  return {};
}

std::string own_program() {
  std::array<char, 4096> path;
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  return size < 0 ? "/proc/self/exe" : std::string(path.data(), static_cast<std::size_t>(size));
}

struct Addresses {
  HostPort debug;
  HostPort target;
};

Result<HostPort> address_of(const std::string& text) {
  if (text == "auto") return free_address();
  if (text.empty()) return HostPort{};
  return parse_host_port(text);
}

Result<Addresses> addresses_of(const Options& options) {
  const auto debug = address_of(options.debug);
  if (!debug) return debug.error();
  const auto target = address_of(options.target);
  if (!target) return target.error();
  return Addresses{*debug, *target};
}

std::string replaced(std::string text, std::string_view what, const std::string& with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
  return text;
}

// Starts the server of --launch and waits until its debug listener answers.
Result<Child> launch(const Options& options, const Addresses& addresses, Client& debug,
                     Progress& progress) {
  std::string command = replaced(options.launch, "{debug}", format_host_port(addresses.debug));
  command = replaced(command, "{target}", format_host_port(addresses.target));
  auto server = Child::start({"sh", "-c", command}, ChildPipes::kNone);
  if (!server) return server;
  const MonotonicTime deadline = std::chrono::steady_clock::now() + options.start_timeout;
  for (;;) {
    progress.step("waiting for the server");
    const auto answer = debug.snapshot();
    if (answer) return server;
    if (server->has_ended()) {
      return Error(ErrorCode::kClosed,
                   fmt::format("--launch: the server has ended: {}",
                               server->end_text().empty() ? "exit status 0" : server->end_text()));
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error(ErrorCode::kDeadlineExceeded,
                   fmt::format("--launch: no debug listener within {}: {}",
                               format_duration(options.start_timeout), answer.error().message()));
    }
    std::this_thread::sleep_for(20ms);
  }
}

Result<leakwatch::CheckReport> run_check(const Options& options, Progress& progress) {
  const auto began = std::chrono::steady_clock::now();
  auto allow = read_allow_list(options.allow_file);
  if (!allow) return allow.error();
  const auto addresses = addresses_of(options);
  if (!addresses) return addresses.error();
  const std::string program =
      options.self_test_program.empty() ? own_program() : options.self_test_program;
  if (Result<void> tested = self_test(program, progress); !tested) return tested.error();

  Client debug(addresses->debug, options.request_timeout);
  std::optional<Child> server;
  if (!options.launch.empty()) {
    auto launched = launch(options, *addresses, debug, progress);
    if (!launched) return launched.error();
    server.emplace(*std::move(launched));
  }
  leakwatch::CheckReport report{.target = debug.address()};
  auto comparison = check({.debug = debug,
                           .drive = drive_of(options, addresses->target, report.drive, progress),
                           .warm_up = options.warm_up,
                           .settle = options.settle,
                           .comparison = {.debug_address = debug.address(),
                                          .heap_growth_bytes = options.heap_growth_bytes},
                           .allow = *std::move(allow)},
                          progress);
  if (!comparison) return comparison.error();
  report.comparison = *std::move(comparison);
  report.took = std::chrono::steady_clock::now() - began;
  return report;
}

Result<int> run(const Options& options) {
  std::optional<Progress> progress(std::in_place, "vigil-leakcheck");
  const auto report = run_check(options, *progress);
  progress.reset();
  if (!report) return report.error();
  fmt::print("{}", report_text(*report));
  if (Result<void> written = write_file(options.junit_file, report_junit(*report)); !written) {
    return written.error();
  }
  if (Result<void> written = write_file(options.json_file, report_json(*report)); !written) {
    return written.error();
  }
  return report->comparison.clean() ? kClean : kLeaks;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == kSelfTestChild) return run_self_test_child();
  // A child or a server that is gone is an error of its own, not our end.
  ::signal(SIGPIPE, SIG_IGN);
  const auto parsed = parse_options(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  end_children_on_signals();
  const Result<int> status = run(std::get<Options>(parsed));
  return status ? *status : fail(status.error().message());
}
