#include "endpoints/locks.h"

#include <map>
#include <optional>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "leakwatch/lock_graph.h"
#include "leakwatch/stuck_report.h"

namespace vigil::endpoints {
namespace {

using leakwatch::LiveStack;
using leakwatch::WaitEdge;
using nlohmann::ordered_json;

struct Lock {
  sampler::WaitKind kind = sampler::WaitKind::kMutex;
  std::uintptr_t address = 0;
  pid_t owner = 0;
  std::vector<pid_t> waiters;
};

struct Locks {
  std::vector<Lock> locks;  // by address
  std::vector<WaitEdge> edges;
  leakwatch::ThreadTitles titles;
  std::map<pid_t, LiveStack> stacks;
};

Locks look(const Services& services) {
  Locks found;
  std::map<pid_t, leakwatch::TaskInfo> innermost;  // the snapshot is oldest first
  for (const auto& task : services.tasks.snapshot()) innermost[task.thread] = task;
  std::map<std::pair<std::uintptr_t, pid_t>, Lock> locks;
  for (LiveStack& stack :
       services.stacks.capture_all(services.clock.now() + services.dump_timeout)) {
    const auto task = innermost.find(stack.thread);
    found.titles[stack.thread] =
        thread_title(stack, task == innermost.end() ? std::nullopt : std::optional(task->second));
    const sampler::WaitDetail& wait = stack.wait;
    if (wait.owner != 0) {
      found.edges.push_back({stack.thread, wait.owner, wait.object, 0});
      Lock& lock = locks[{wait.object, wait.owner}];
      lock.kind = wait.kind;
      lock.address = wait.object;
      lock.owner = wait.owner;
      lock.waiters.push_back(stack.thread);
    }
    found.stacks.emplace(stack.thread, std::move(stack));
  }
  for (auto& [key, lock] : locks) found.locks.push_back(std::move(lock));
  return found;
}

std::string title_of(const Locks& locks, pid_t thread) {
  const auto found = locks.titles.find(thread);
  return found == locks.titles.end() ? fmt::format("thread {} (ended)", thread) : found->second;
}

std::string text_of(const Locks& locks) {
  const auto cycles = leakwatch::find_cycles(locks.edges);
  std::string out =
      fmt::format("locks that are waited for: {}, threads that wait: {}, deadlocks: {}\n",
                  locks.locks.size(), locks.edges.size(), cycles.size());
  for (const auto& cycle : cycles) {
    out += "\ndeadlock:\n";
    for (const WaitEdge& edge : cycle) {
      out += fmt::format("  {} waits for {} held by {}\n", title_of(locks, edge.waiter),
                         hex_address(edge.lock), title_of(locks, edge.owner));
    }
  }
  for (const Lock& lock : locks.locks) {
    out += fmt::format("\n{} {}\n  held by {}\n", wait_kind_name(lock.kind),
                       hex_address(lock.address), title_of(locks, lock.owner));
    if (const auto holder = locks.stacks.find(lock.owner); holder != locks.stacks.end()) {
      out += format_stack(holder->second);
    }
    out += fmt::format("  waited for by {}:\n", lock.waiters.size());
    for (const pid_t waiter : lock.waiters) out += "    " + title_of(locks, waiter) + "\n";
  }
  return out;
}

Page json_of(const Locks& locks) {
  ordered_json list = ordered_json::array();
  for (const Lock& lock : locks.locks) {
    ordered_json waiters = ordered_json::array();
    for (const pid_t waiter : lock.waiters) {
      waiters.push_back({{"thread", waiter}, {"title", title_of(locks, waiter)}});
    }
    list.push_back({{"kind", wait_kind_name(lock.kind)},
                    {"address", hex_address(lock.address)},
                    {"owner_thread", lock.owner},
                    {"owner", title_of(locks, lock.owner)},
                    {"waiters", std::move(waiters)}});
  }
  const ordered_json document = {{"locks", std::move(list)},
                                 {"deadlocks", leakwatch::find_cycles(locks.edges).size()}};
  Page page;
  page.content_type = "application/json";
  page.body = document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  return page;
}

}  // namespace

Page locks_page(const PageRequest& request, const Services& services) {
  const auto format = request.query.get("format").value_or("text");
  if (format != "text" && format != "json" && format != "dot" && format != "svg") {
    return error_page(400, "format: not text, json, dot or svg");
  }
  const Locks locks = look(services);
  if (format == "json") return json_of(locks);
  Page page = text_page(format == "text" ? text_of(locks) : "");
  if (format == "dot") {
    page.content_type = "text/vnd.graphviz; charset=utf-8";
    page.body = lock_graph_dot(locks.edges, locks.titles);
  }
  if (format == "svg") {
    page.content_type = "image/svg+xml";
    page.body = lock_graph_svg(locks.edges, locks.titles);
  }
  return page;
}

}  // namespace vigil::endpoints
