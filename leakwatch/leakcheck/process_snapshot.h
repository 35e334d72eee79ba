// What a server's debug listener says that the process has: /debug/leakcheck. endpoints/ writes and
// reads it as JSON, vigil-leakcheck compares two of them (comparison.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vigil::leakwatch {

// A task, thread, descriptor, socket, timer or child process.
struct SnapshotThing {
  std::string kind;  // resource_kind_name()
  std::uint64_t id = 0;
  std::string birth;                   // as Resource::birth
  std::string name;                    // as Resource::name
  std::uint64_t thread = 0;            // of tasks and threads
  std::vector<std::string> functions;  // of the current stack, innermost first
  std::string stack;                   // the same as text, with its state
  std::vector<std::string> created_functions;
  std::string created;  // the creator's stack as text; empty where nobody knows
};

// A call site of the heap, estimated from samples.
struct SnapshotHeapSite {
  std::vector<std::string> functions;  // innermost first, without the allocator
  std::string stack;
  std::int64_t bytes = 0;
  std::int64_t objects = 0;
};

// A watchdog's report.
struct SnapshotStuck {
  std::uint64_t number = 0;
  std::string name;  // the task's label
  std::string what;  // "stuck for 5.2s", "leaked past its timeout of 1s"
  std::vector<std::string> functions;
  std::string stack;
};

struct ProcessSnapshot {
  std::int64_t pid = 0;
  std::vector<SnapshotThing> things;
  std::optional<std::vector<SnapshotHeapSite>> heap;  // nullopt: not to be had, see `missing`
  std::vector<SnapshotStuck> stuck;                   // those that are stuck now
  std::vector<std::string> missing;  // what could not be looked at, a sentence each
};

}  // namespace vigil::leakwatch
