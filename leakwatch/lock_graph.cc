#include "leakwatch/lock_graph.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

using EdgeOf = std::unordered_map<pid_t, WaitEdge>;

EdgeOf by_waiter(std::span<const WaitEdge> edges) {
  EdgeOf edge_of;
  for (const WaitEdge& edge : edges) edge_of.emplace(edge.waiter, edge);
  return edge_of;
}

// The cycle that `start` is on, which following its edges has come back to.
WaitCycle cycle_at(const EdgeOf& edge_of, pid_t start) {
  WaitCycle cycle;
  pid_t thread = start;
  do {
    cycle.push_back(edge_of.at(thread));
    thread = cycle.back().owner;
  } while (thread != start);
  std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
  return cycle;
}

// The walk from `start` until it leaves the graph or meets a thread that an earlier walk, or this
// one, has seen. Gives the thread where this walk met itself, 0 if it did not.
pid_t walk(const EdgeOf& edge_of, pid_t start, std::unordered_map<pid_t, pid_t>& seen_from) {
  for (auto at = edge_of.find(start); at != edge_of.end(); at = edge_of.find(at->second.owner)) {
    const auto [seen, is_new] = seen_from.emplace(at->first, start);
    if (!is_new) return seen->second == start ? at->first : 0;
  }
  return 0;
}

std::string title_of(const ThreadTitles& titles, pid_t thread) {
  const auto found = titles.find(thread);
  return found == titles.end() ? fmt::format("thread {}", thread) : valid_utf8(found->second);
}

std::string dot_quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? ' ' : c;
  }
  return quoted + '"';
}

std::set<pid_t> threads_of(std::span<const WaitEdge> edges) {
  std::set<pid_t> threads;
  for (const WaitEdge& edge : edges) threads.insert({edge.waiter, edge.owner});
  return threads;
}

std::set<WaitEdge> edges_in_cycles(std::span<const WaitEdge> edges) {
  std::set<WaitEdge> inside;
  for (const WaitCycle& cycle : find_cycles(edges)) inside.insert(cycle.begin(), cycle.end());
  return inside;
}

// The picture, row by row. A thread is a box of two lines.
class Svg {
 public:
  explicit Svg(const ThreadTitles& titles) : titles_(titles) {}

  // One box below the other, an arrow from each to the next, and one back to the first.
  void cycle(const WaitCycle& edges) {
    const int top = y_;
    for (std::size_t i = 0; i < edges.size(); ++i) {
      box(0, y_, edges[i].waiter, kRed);
      const bool is_last = i + 1 == edges.size();
      text(is_last ? kWidth + kBend + 8 : kWidth / 2 + 8,
           is_last ? (top + y_ + kHeight) / 2 + 4 : y_ + kHeight + kGap / 2 + 4,
           hex_address(edges[i].lock));
      if (!is_last) {
        path(fmt::format("M{0} {1} V{2}", kWidth / 2, y_ + kHeight, y_ + kHeight + kGap), kRed);
      }
      y_ += kHeight + kGap;
    }
    const int bottom = y_ - kGap - kHeight / 2;
    path(fmt::format("M{0} {1} h{2} V{3} h-{2}", kWidth, bottom, kBend, top + kHeight / 3), kRed);
    y_ += kGap;
  }

  // The owner at the right, its waiters at the left.
  void lock(std::uintptr_t lock, pid_t owner, std::span<const WaitEdge> waiters) {
    const std::size_t shown = std::min(waiters.size(), kSvgWaitersMax);
    const int middle = y_ + static_cast<int>(shown - 1) * kRow / 2;
    for (std::size_t i = 0; i < shown; ++i) {
      const int row = y_ + static_cast<int>(i) * kRow;
      box(0, row, waiters[i].waiter, "");
      path(fmt::format("M{} {} L{} {}", kWidth, row + kHeight / 2, kOwnerX, middle + kHeight / 2),
           "");
    }
    box(kOwnerX, middle, owner, "");
    text(kOwnerX, middle - 6, hex_address(lock));
    y_ += static_cast<int>(shown) * kRow;
    if (shown < waiters.size()) {
      text(8, y_ + 12, fmt::format("and {} more wait for it", waiters.size() - shown));
      y_ += kRow / 2;
    }
    y_ += kGap;
  }

  std::string document() {
    if (body_.empty()) {
      text(0, 16, "No thread waits for another one's lock.");
      y_ = kRow;
    }
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-4 -16 {0} {1}\" width=\"{0}\" "
        "height=\"{1}\" role=\"img\" font-family=\"system-ui,sans-serif\" font-size=\"12\" "
        "fill=\"none\" stroke=\"currentColor\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" "
        "refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path "
        "d=\"M0 0 8 4 0 8\"/></marker></defs>\n{2}</svg>\n",
        kOwnerX + kWidth + 8, y_ + 20, body_);
  }

 private:
  static constexpr int kWidth = 300;
  static constexpr int kHeight = 40;
  static constexpr int kBend = 40;
  static constexpr int kOwnerX = 420;
  static constexpr int kRow = 52;
  static constexpr int kGap = 32;
  static constexpr std::size_t kLineMax = 46;
  static constexpr std::string_view kRed = " stroke=\"#d33\"";

  // "thread 12 vigil-work-3" over "task 7 GET /orders": as thread_title() has them in one line.
  void box(int x, int y, pid_t thread, std::string_view style) {
    constexpr std::string_view kBetween = " in task ";
    const std::string title = title_of(titles_, thread);
    const std::size_t at = std::min(title.find(kBetween), title.size());
    fmt::format_to(std::back_inserter(body_),
                   "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"{}/>\n", x, y,
                   kWidth, kHeight, style);
    text(x + 8, y + 16, cut(title.substr(0, at)));
    if (at < title.size()) text(x + 8, y + 32, cut("task " + title.substr(at + kBetween.size())));
  }
  static std::string cut(std::string line) {
    if (line.size() > kLineMax) line = line.substr(0, kLineMax) + "…";
    return valid_utf8(line);
  }
  void path(std::string_view line, std::string_view style) {
    fmt::format_to(std::back_inserter(body_), "<path d=\"{}\" marker-end=\"url(#tip)\"{}/>\n", line,
                   style);
  }
  void text(int x, int y, std::string_view shown) {
    fmt::format_to(std::back_inserter(body_),
                   "<text x=\"{}\" y=\"{}\" fill=\"currentColor\" stroke=\"none\">{}</text>\n", x,
                   y, html_escaped(shown));
  }

  const ThreadTitles& titles_;
  int y_ = 0;
  std::string body_;
};

}  // namespace

std::vector<WaitCycle> find_cycles(std::span<const WaitEdge> edges) {
  const EdgeOf edge_of = by_waiter(edges);
  std::unordered_map<pid_t, pid_t> seen_from;
  std::vector<WaitCycle> cycles;
  for (const WaitEdge& edge : edges) {
    if (seen_from.contains(edge.waiter)) continue;
    if (const pid_t met = walk(edge_of, edge.waiter, seen_from); met != 0) {
      cycles.push_back(cycle_at(edge_of, met));
    }
  }
  std::sort(cycles.begin(), cycles.end());
  return cycles;
}

std::vector<WaitCycle> confirmed_cycles(std::span<const WaitEdge> before,
                                        std::span<const WaitEdge> now) {
  const std::set<WaitEdge> known(before.begin(), before.end());
  std::vector<WaitCycle> cycles = find_cycles(now);
  std::erase_if(cycles, [&](const WaitCycle& cycle) {
    return !std::all_of(cycle.begin(), cycle.end(),
                        [&](const WaitEdge& edge) { return known.contains(edge); });
  });
  return cycles;
}

std::string lock_graph_dot(std::span<const WaitEdge> edges, const ThreadTitles& titles) {
  const std::set<WaitEdge> red = edges_in_cycles(edges);
  std::string out = "digraph locks {\n  rankdir=LR;\n  node [shape=box];\n";
  for (const pid_t thread : threads_of(edges)) {
    fmt::format_to(std::back_inserter(out), "  t{} [label={}];\n", thread,
                   dot_quoted(title_of(titles, thread)));
  }
  for (const WaitEdge& edge : edges) {
    fmt::format_to(std::back_inserter(out), "  t{} -> t{} [label={}{}];\n", edge.waiter, edge.owner,
                   dot_quoted(hex_address(edge.lock)), red.contains(edge) ? " color=red" : "");
  }
  return out + "}\n";
}

std::string lock_graph_svg(std::span<const WaitEdge> edges, const ThreadTitles& titles) {
  const std::set<WaitEdge> red = edges_in_cycles(edges);
  std::map<std::pair<std::uintptr_t, pid_t>, std::vector<WaitEdge>> locks;
  for (const WaitEdge& edge : edges) {
    if (!red.contains(edge)) locks[{edge.lock, edge.owner}].push_back(edge);
  }
  Svg svg(titles);
  for (const WaitCycle& cycle : find_cycles(edges)) svg.cycle(cycle);
  for (const auto& [lock, waiters] : locks) svg.lock(lock.first, lock.second, waiters);
  return svg.document();
}

}  // namespace vigil::leakwatch
