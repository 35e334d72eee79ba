#include "agent/leakcheck/check.h"

#include <algorithm>
#include <thread>

#include <fmt/core.h>

#include "agent/leakcheck/child.h"

namespace vigil::leakcheck {
namespace {

using namespace std::chrono_literals;
using leakwatch::Comparison;
using leakwatch::ProcessSnapshot;

constexpr Duration kPauseMin = 50ms;
constexpr Duration kPauseMax = 500ms;
// How long tasks of the warm-up may hold up the first look.
constexpr Duration kQuietMax = 2s;

MonotonicTime now() { return std::chrono::steady_clock::now(); }

// `repeat` requests on one connection. Of a handler that does not answer, one is enough.
Result<void> drive_request(Client& client, const DriveRequest& request, int repeat,
                           Progress& progress) {
  int unknown = 0;
  for (int i = 0; i < repeat; ++i) {
    progress.step(fmt::format("{} {}, {} of {}", request.method, request.path, i + 1, repeat));
    const auto answer = client.request(request.method, request.path);
    if (!answer && answer.error().code() == ErrorCode::kDeadlineExceeded) return {};
    if (!answer) return answer.error();
    if (answer->status == 404) ++unknown;
  }
  if (unknown < repeat) return {};
  return Error(ErrorCode::kNotFound,
               fmt::format("{} http://{}{}: status 404, so nothing was driven", request.method,
                           client.address(), request.path));
}

Result<void> drive_requests(const Options& options, const HostPort& target, Progress& progress) {
  Client client(target, options.request_timeout);
  for (const DriveRequest& request : options.requests) {
    Result<void> driven = drive_request(client, request, options.repeat, progress);
    if (!driven) return driven;
  }
  return {};
}

Result<void> drive_command(const std::vector<std::string>& command, Progress& progress) {
  auto child = Child::start(command, ChildPipes::kNone);
  if (!child) return child.error();
  while (!child->has_ended()) {
    progress.step("running " + command[0]);
    std::this_thread::sleep_for(5ms);
  }
  const std::string failed = child->end_text();
  if (failed.empty()) return {};
  return Error(ErrorCode::kSystem, fmt::format("{} failed: {}", command[0], failed));
}

std::string words_of(const Options& options) {
  if (!options.command.empty()) return fmt::format("\"{}\"", options.command[0]);
  std::string words;
  for (const DriveRequest& request : options.requests) {
    fmt::format_to(std::back_inserter(words), "{}{} x {} {}", words.empty() ? "" : ", ",
                   options.repeat, request.method, request.path);
  }
  return words;
}

bool has_task(const ProcessSnapshot& snapshot) {
  return std::any_of(snapshot.things.begin(), snapshot.things.end(),
                     [](const leakwatch::SnapshotThing& thing) { return thing.kind == "task"; });
}

// The first look: when no task of the warm-up runs any more, or kQuietMax have passed.
Result<ProcessSnapshot> baseline(Client& debug, Progress& progress) {
  const MonotonicTime deadline = now() + kQuietMax;
  for (;;) {
    progress.step("the first look");
    auto snapshot = debug.snapshot();
    if (!snapshot || !has_task(*snapshot) || now() >= deadline) return snapshot;
    std::this_thread::sleep_for(kPauseMin);
  }
}

}  // namespace

Drive drive_of(const Options& options, const HostPort& target, std::string& words,
               Progress& progress) {
  words = words_of(options);
  if (!options.command.empty()) {
    return [&options, &progress] { return drive_command(options.command, progress); };
  }
  return [&options, target, &progress] { return drive_requests(options, target, progress); };
}

Result<Comparison> check(CheckInput input, Progress& progress) {
  // Also tells whether the debug listener is there before anything is driven.
  if (auto reached = input.debug.snapshot(); !reached) return reached.error();
  for (int round = 0; round < input.warm_up; ++round) {
    if (Result<void> driven = input.drive(); !driven) return driven.error();
  }
  const auto before = baseline(input.debug, progress);
  if (!before) return before.error();
  if (Result<void> driven = input.drive(); !driven) return driven.error();

  const MonotonicTime deadline = now() + input.settle;
  Duration pause = kPauseMin;
  for (;;) {
    const auto after = input.debug.snapshot();
    if (!after) return after.error();
    if (after->pid != before->pid) {
      return Error(ErrorCode::kClosed,
                   fmt::format("{}: the server was restarted meanwhile (process {}, then {})",
                               input.debug.address(), before->pid, after->pid));
    }
    Comparison comparison =
        leakwatch::compare_snapshots(*before, *after, input.allow, input.comparison);
    if (comparison.clean() || now() >= deadline) return comparison;
    progress.step(fmt::format("{} things have not ended yet", comparison.leaks.size()));
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kPauseMax);
  }
}

}  // namespace vigil::leakcheck
