// The allow-list of vigil-leakcheck: leaks that a project lives with, each with a reason and a day
// on which somebody has to think again.
//
//   # KIND FIELD=PATTERN until YYYY-MM-DD: REASON
//   thread name=grpc-timer* until 2027-03-31: grpc keeps its timer threads (TICKET-12)
//   heap function="Cache::insert" until 2027-01-31: fills up to 64 MiB, see docs/cache.md
//   any created=legacy::* until 2026-12-31: goes with the legacy module
//
// KIND: task thread descriptor socket timer process heap stuck, or any.
// FIELD: name (a label, thread's or program's name, path, address), function (any function of where
// it is now, or of the heap's call site), created (any function of where it was created).
// PATTERN: the whole of it, or a prefix followed by '*'. In double quotes it may have spaces; \" and
// \\ stand for themselves there.
// The day is the last on which the entry holds, in UTC. Empty lines and lines that begin with '#'
// are skipped. A line that is anything else, or past its day, is an error: a check that silently
// ignores a rule, or follows one for ever, is not trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vigil::leakwatch {

enum class AllowField : std::uint8_t { kName, kFunction, kCreated };

struct AllowEntry {
  std::string kind;  // "process" is written "child process" here; "any" as it is
  AllowField field = AllowField::kName;
  std::string pattern;
  std::chrono::year_month_day last_day{};
  std::string reason;
  std::size_t line = 0;  // from 1
};

inline constexpr std::size_t kAllowLineBytesMax = 4096;
inline constexpr std::size_t kAllowLinesMax = 10'000;

// The first mistake ends it: invalid_argument, with the message "LINE: what is wrong". Pure.
Result<std::vector<AllowEntry>> parse_allow_list(std::string_view text,
                                                 std::chrono::year_month_day today);

// An entry as a line that parses to the same (its line number aside). Pure.
std::string format_allow_entry(const AllowEntry& entry);

}  // namespace vigil::leakwatch
