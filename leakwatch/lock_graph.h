// Who waits for whom: the wait-for graph of threads, its cycles, and its picture.
//
//   const std::vector<WaitEdge> edges = stacks.lock_waits(threads);
//   for (const WaitCycle& cycle : find_cycles(edges)) …          // each is a deadlock
//
// A thread waits for one lock at a time, so each has at most one edge, and a cycle is found by
// following edges. All functions are pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace vigil::leakwatch {

// `waiter` is blocked on a lock that `owner` holds.
struct WaitEdge {
  pid_t waiter = 0;
  pid_t owner = 0;
  std::uintptr_t lock = 0;
  // Changes whenever the waiter has run (sampler::read_run_witness). An edge that was seen twice
  // with one witness has existed all the time between.
  std::uint64_t witness = 0;

  friend auto operator<=>(const WaitEdge&, const WaitEdge&) = default;
};

// Edges that close: each one's owner is the next one's waiter, the last one's owner the first one's
// waiter. Begins with the lowest thread id. A thread that waits for itself is a cycle of one.
using WaitCycle = std::vector<WaitEdge>;

// Every cycle, ascending by its first thread. Of several edges of one waiter the first counts.
// Cost: linear in the number of edges, but for the sorting.
std::vector<WaitCycle> find_cycles(std::span<const WaitEdge> edges);

// The cycles of `now` whose edges were all in `before` already: seen twice without that a thread of
// theirs has run. They cannot be an accident of reading one lock after the other.
std::vector<WaitCycle> confirmed_cycles(std::span<const WaitEdge> before,
                                        std::span<const WaitEdge> now);

// What a picture calls each thread; threads that are not in it are "thread 12".
using ThreadTitles = std::map<pid_t, std::string>;

// Graphviz' language: a box for each thread, an arrow from waiter to owner with the lock's address,
// red where it is part of a cycle.
std::string lock_graph_dot(std::span<const WaitEdge> edges, const ThreadTitles& titles);

// The same graph as SVG, for a browser: each deadlock as a ring in red, then a row for each lock that
// others wait for, with its owner at the right and its waiters at the left, at most kSvgWaitersMax of
// them drawn.
std::string lock_graph_svg(std::span<const WaitEdge> edges, const ThreadTitles& titles);
inline constexpr std::size_t kSvgWaitersMax = 8;

}  // namespace vigil::leakwatch
