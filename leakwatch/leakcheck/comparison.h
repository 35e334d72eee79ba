// What a server has kept between two snapshots, and what of it an allow-list allows. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "leakwatch/leakcheck/allow_list.h"
#include "leakwatch/leakcheck/process_snapshot.h"

namespace vigil::leakwatch {

struct ComparisonOptions {
  // Where the debug pages are, as format_host_port() writes it: its connections are our own.
  std::string debug_address;
  // A call site of the heap has grown if it holds this much more. With the usual sampling interval
  // of 512 KiB, 4 MiB are eight samples: less may be noise.
  std::int64_t heap_growth_bytes = 4 * 1024 * 1024;
};

// One leak.
struct Finding {
  std::string kind;   // resource_kind_name(), "heap" or "stuck"
  std::string title;  // "thread 4711 \"worker\"", "8.0 MiB more in 20 objects"
  std::string name;   // what the allow-list's name= is compared with
  std::vector<std::string> functions;
  std::string stack;
  std::vector<std::string> created_functions;
  std::string created;
};

struct Comparison {
  std::vector<Finding> leaks;
  struct Allowed {
    Finding finding;
    AllowEntry by;
  };
  std::vector<Allowed> allowed;
  std::vector<AllowEntry> unused;    // entries that nothing needed
  std::vector<std::string> missing;  // kinds that could not be looked at, a sentence each

  bool clean() const { return leaks.empty(); }
};

// Every kind that a comparison looks at, in the order of reports.
const std::vector<std::string>& finding_kinds();

// What is in `after` and not in `before`. Never a leak: connections to the debug address and the
// threads of a debug listener; threads of a vigil server between two requests (its pools keep them;
// one that is stuck in a handler shows as its task).
Comparison compare_snapshots(const ProcessSnapshot& before, const ProcessSnapshot& after,
                             const std::vector<AllowEntry>& allow,
                             const ComparisonOptions& options);

}  // namespace vigil::leakwatch
