#include "leakwatch/leakcheck/comparison.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include <fmt/core.h>

#include "leakwatch/leakcheck/ignore_rules.h"

namespace vigil::leakwatch {
namespace {

// A thread that is in one of these and has no task is a server's own, waiting for work.
constexpr std::array<std::string_view, 3> kServersThreads = {
    "vigil::http::EngineThread::*", "vigil::http::ThreadPool::*", "vigil::http::TimeoutPool::*"};
constexpr std::string_view kDebugListenersThreads = "vgdbg*";

bool any_matches(const std::vector<std::string>& functions, std::string_view rule) {
  return std::any_of(functions.begin(), functions.end(),
                     [rule](const std::string& function) { return matches_rule(function, rule); });
}

bool is_servers_thread(const SnapshotThing& thing) {
  if (thing.kind != "thread") return false;
  return matches_rule(thing.name, kDebugListenersThreads) ||
         std::any_of(kServersThreads.begin(), kServersThreads.end(),
                     [&](std::string_view rule) { return any_matches(thing.functions, rule); });
}

bool is_debug_connection(const SnapshotThing& thing, const ComparisonOptions& options) {
  return thing.kind == "socket" &&
         thing.name.starts_with("TCP " + options.debug_address + " from ");
}

using Identity = std::tuple<std::string, std::uint64_t, std::string>;
Identity identity(const SnapshotThing& thing) { return {thing.kind, thing.id, thing.birth}; }

Finding finding_of(const SnapshotThing& thing) {
  const bool is_named = thing.kind == "task" || thing.kind == "thread";
  return {.kind = thing.kind,
          .title = is_named ? fmt::format("{} {} \"{}\"", thing.kind, thing.id, thing.name)
                            : fmt::format("{} {} {}", thing.kind, thing.id, thing.name),
          .name = thing.name,
          .functions = thing.functions,
          .stack = thing.stack,
          .created_functions = thing.created_functions,
          .created = thing.created};
}

void compare_things(const ProcessSnapshot& before, const ProcessSnapshot& after,
                    const ComparisonOptions& options, std::vector<Finding>& found) {
  std::set<Identity> known;
  for (const SnapshotThing& thing : before.things) known.insert(identity(thing));
  for (const SnapshotThing& thing : after.things) {
    if (known.contains(identity(thing))) continue;
    if (is_servers_thread(thing) || is_debug_connection(thing, options)) continue;
    found.push_back(finding_of(thing));
  }
}

// Several samples, and several lines of one function, are one call site; so are stacks that differ
// further out only, in how the server came to call the handler.
constexpr std::size_t kSiteFunctions = 16;
using HeapBySite = std::map<std::vector<std::string>, SnapshotHeapSite>;

HeapBySite by_site(const std::optional<std::vector<SnapshotHeapSite>>& heap) {
  HeapBySite sites;
  if (!heap) return sites;
  for (const SnapshotHeapSite& site : *heap) {
    std::vector<std::string> innermost = site.functions;
    if (innermost.size() > kSiteFunctions) innermost.resize(kSiteFunctions);
    const auto [known, is_new] = sites.emplace(std::move(innermost), site);
    if (is_new) continue;
    known->second.bytes += site.bytes;
    known->second.objects += site.objects;
  }
  return sites;
}

void compare_heap(const ProcessSnapshot& before, const ProcessSnapshot& after,
                  const ComparisonOptions& options, std::vector<Finding>& found) {
  HeapBySite was = by_site(before.heap);
  for (const auto& [innermost, site] : by_site(after.heap)) {
    const SnapshotHeapSite& old = was[innermost];
    const std::int64_t more = site.bytes - old.bytes;
    if (more < options.heap_growth_bytes) continue;
    found.push_back({.kind = "heap",
                     .title = fmt::format("heap {:.1f} MiB more in {} more objects",
                                          static_cast<double>(more) / (1024 * 1024),
                                          site.objects - old.objects),
                     .name = site.functions.empty() ? "?" : site.functions.front(),
                     .functions = site.functions,
                     .stack = site.stack});
  }
}

void compare_stuck(const ProcessSnapshot& before, const ProcessSnapshot& after,
                   std::vector<Finding>& found) {
  std::set<std::uint64_t> known;
  for (const SnapshotStuck& stuck : before.stuck) known.insert(stuck.number);
  for (const SnapshotStuck& stuck : after.stuck) {
    if (known.contains(stuck.number)) continue;
    found.push_back(
        {.kind = "stuck",
         .title = fmt::format("stuck report {} \"{}\" {}", stuck.number, stuck.name, stuck.what),
         .name = stuck.name,
         .functions = stuck.functions,
         .stack = stuck.stack});
  }
}

bool allows(const AllowEntry& entry, const Finding& finding) {
  if (entry.kind != "any" && entry.kind != finding.kind) return false;
  switch (entry.field) {
    case AllowField::kName:
      return matches_rule(finding.name, entry.pattern);
    case AllowField::kFunction:
      return any_matches(finding.functions, entry.pattern);
    case AllowField::kCreated:
      return any_matches(finding.created_functions, entry.pattern);
  }
  return false;
}

}  // namespace

const std::vector<std::string>& finding_kinds() {
  static const std::vector<std::string> kinds = {"task",  "thread",        "descriptor", "socket",
                                                 "timer", "child process", "heap",       "stuck"};
  return kinds;
}

Comparison compare_snapshots(const ProcessSnapshot& before, const ProcessSnapshot& after,
                             const std::vector<AllowEntry>& allow,
                             const ComparisonOptions& options) {
  std::vector<Finding> found;
  compare_things(before, after, options, found);
  compare_heap(before, after, options, found);
  compare_stuck(before, after, found);

  Comparison comparison;
  comparison.missing = after.missing;
  std::set<std::size_t> used;
  for (Finding& finding : found) {
    const auto entry = std::find_if(allow.begin(), allow.end(), [&](const AllowEntry& candidate) {
      return allows(candidate, finding);
    });
    if (entry == allow.end()) {
      comparison.leaks.push_back(std::move(finding));
    } else {
      used.insert(entry->line);
      comparison.allowed.push_back({std::move(finding), *entry});
    }
  }
  for (const AllowEntry& entry : allow) {
    if (!used.contains(entry.line)) comparison.unused.push_back(entry);
  }
  return comparison;
}

}  // namespace vigil::leakwatch
