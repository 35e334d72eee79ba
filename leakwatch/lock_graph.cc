#include "leakwatch/lock_graph.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include <fmt/format.h>

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

// The picture, row by row.
class Svg {
 public:
  void lock(std::uintptr_t lock, pid_t owner, std::span<const WaitEdge> waiters,
            const ThreadTitles& titles, const std::set<WaitEdge>& red) {
    const std::size_t shown = std::min(waiters.size(), kSvgWaitersMax);
    const int middle = y_ + static_cast<int>(shown - 1) * kRow / 2;
    for (std::size_t i = 0; i < shown; ++i) {
      const bool in_cycle = red.contains(waiters[i]);
      box(0, y_ + static_cast<int>(i) * kRow, title_of(titles, waiters[i].waiter), in_cycle);
      arrow(y_ + static_cast<int>(i) * kRow, middle, in_cycle);
    }
    const bool in_cycle =
        std::any_of(waiters.begin(), waiters.end(), [&](const auto& e) { return red.contains(e); });
    box(kOwnerX, middle, title_of(titles, owner), in_cycle);
    text(kWidth + 30, middle - 8, hex_address(lock));
    y_ += static_cast<int>(shown) * kRow;
    if (shown < waiters.size()) {
      text(8, y_ + 12, fmt::format("and {} more wait for it", waiters.size() - shown));
      y_ += kRow / 2;
    }
    y_ += kGap;
  }

  std::string document() const {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-4 -4 {} {}\" width=\"{}\" "
        "role=\"img\" font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"none\" "
        "stroke=\"currentColor\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" "
        "refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8\" "
        "/></marker></defs>\n{}</svg>\n",
        kOwnerX + kWidth + 8, y_ + 8, kOwnerX + kWidth + 8, body_);
  }

 private:
  static constexpr int kWidth = 300;
  static constexpr int kOwnerX = 480;
  static constexpr int kRow = 36;
  static constexpr int kGap = 24;
  static constexpr std::size_t kTitleMax = 46;

  static std::string_view color(bool in_cycle) { return in_cycle ? " stroke=\"#d33\"" : ""; }

  void box(int x, int y, std::string title, bool in_cycle) {
    fmt::format_to(std::back_inserter(body_),
                   "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"26\" rx=\"4\"{}/>\n", x, y,
                   kWidth, color(in_cycle));
    if (title.size() > kTitleMax) title = title.substr(0, kTitleMax) + "…";
    text(x + 8, y + 17, valid_utf8(title));
  }
  void arrow(int from_y, int to_y, bool in_cycle) {
    fmt::format_to(std::back_inserter(body_),
                   "<path d=\"M{} {} {} {}\" marker-end=\"url(#tip)\"{}/>\n", kWidth, from_y + 13,
                   kOwnerX, to_y + 13, color(in_cycle));
  }
  void text(int x, int y, std::string_view shown) {
    fmt::format_to(std::back_inserter(body_),
                   "<text x=\"{}\" y=\"{}\" fill=\"currentColor\" stroke=\"none\">{}</text>\n", x,
                   y, html_escaped(shown));
  }

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
  for (const WaitEdge& edge : edges) locks[{edge.lock, edge.owner}].push_back(edge);
  Svg svg;
  for (const auto& [lock, waiters] : locks) {
    svg.lock(lock.first, lock.second, waiters, titles, red);
  }
  return svg.document();
}

}  // namespace vigil::leakwatch
