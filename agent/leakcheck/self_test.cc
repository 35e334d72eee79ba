#include "agent/leakcheck/self_test.h"

#include <algorithm>

#include <fmt/core.h>

#include "agent/leakcheck/child.h"

namespace vigil::leakcheck {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAnswerTimeout = 30s;
constexpr Duration kSettle = 5s;

MonotonicTime in(Duration duration) { return std::chrono::steady_clock::now() + duration; }

Result<HostPort> debug_address_of(Child& child) {
  constexpr std::string_view kPrefix = "debug ";
  const auto line = child.read_line(in(kAnswerTimeout));
  if (!line) return line.error();
  if (!line->starts_with(kPrefix)) return Error(ErrorCode::kInvalidArgument, *line);
  return parse_host_port(line->substr(kPrefix.size()));
}

Result<void> leak(Child& child) {
  if (Result<void> written = child.write_line("leak"); !written) return written;
  const auto answer = child.read_line(in(kAnswerTimeout));
  if (!answer) return answer.error();
  if (*answer != "leaked") return Error(ErrorCode::kInvalidArgument, *answer);
  return {};
}

bool is_missing(const leakwatch::Comparison& comparison, const std::string& kind) {
  return std::any_of(comparison.missing.begin(), comparison.missing.end(),
                     [&kind](const std::string& text) { return text.starts_with(kind); });
}

bool is_found(const leakwatch::Comparison& comparison, const std::string& kind) {
  return std::any_of(comparison.leaks.begin(), comparison.leaks.end(),
                     [&kind](const leakwatch::Finding& finding) { return finding.kind == kind; });
}

// The kinds that were leaked and not seen; what this system cannot show at all is not among them
// (the report of the check says so).
std::string unseen(const leakwatch::Comparison& comparison) {
  std::string kinds;
  for (const std::string& kind : leakwatch::finding_kinds()) {
    if (is_found(comparison, kind) || is_missing(comparison, kind)) continue;
    kinds += (kinds.empty() ? "" : ", ") + kind;
  }
  return kinds;
}

Error failed(std::string what) {
  return Error(ErrorCode::kSystem, "the self-test failed: " + std::move(what));
}

}  // namespace

Result<void> self_test(const std::string& program, Progress& progress) {
  auto child = Child::start({program, kSelfTestChild}, ChildPipes::kInAndOut);
  if (!child) return failed(child.error().message());
  const auto address = debug_address_of(*child);
  if (!address) return failed(address.error().message());
  Client debug(*address, kAnswerTimeout);
  const auto check_with = [&](Drive drive, Duration settle) {
    return check({.debug = debug,
                  .drive = std::move(drive),
                  .settle = settle,
                  .comparison = {.debug_address = debug.address()}},
                 progress);
  };
  const auto quiet = check_with([] { return Result<void>(); }, kSettle);
  if (!quiet) return failed(quiet.error().message());
  if (!quiet->clean())
    return failed("it saw a leak where there was none: " + quiet->leaks[0].title);

  // Stuck reports come with the watchdog's next pass: looked at until all is there.
  const MonotonicTime deadline = in(kSettle);
  auto before = debug.snapshot();
  if (!before) return failed(before.error().message());
  if (Result<void> leaked = leak(*child); !leaked) return failed(leaked.error().message());
  std::string not_seen;
  do {
    progress.step("the self-test");
    const auto after = debug.snapshot();
    if (!after) return failed(after.error().message());
    not_seen = unseen(
        leakwatch::compare_snapshots(*before, *after, {}, {.debug_address = debug.address()}));
  } while (!not_seen.empty() && std::chrono::steady_clock::now() < deadline);
  if (not_seen.empty()) return {};
  return failed(fmt::format("{} leaked and this was not seen: {}", program, not_seen));
}

}  // namespace vigil::leakcheck
