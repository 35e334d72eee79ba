#include "endpoints/dump.h"

#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/core.h>

#include "base/text.h"
#include "leakwatch/async_task.h"
#include "sampler/thread_work.h"

namespace vigil::endpoints {
namespace {

using leakwatch::LiveStack;
using leakwatch::TaskInfo;

// ", 3 minutes", ", 1 minutes" as Go prints it (it never says "minute"), nothing below one.
std::string minutes_of(Duration age) {
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(age).count();
  return minutes < 1 ? std::string() : fmt::format(", {} minutes", minutes);
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  append_json_escaped(out, text);
  return out + "\"";
}

// ", labels:{"method":"GET","route":"/x"}", ascending by key; empty without any. The program's own
// replace those of the task's label, as in profiles.
std::string labels_of(std::string_view task_label, const LiveStack* stack) {
  std::map<std::string_view, std::string_view> labels;
  const sampler::NameParts parts = sampler::split_name(task_label);
  if (!parts.method.empty()) labels["method"] = parts.method;
  if (!parts.route.empty()) labels["route"] = parts.route;
  if (stack != nullptr) {
    for (const auto& [key, value] : stack->labels) labels[key] = value;
  }
  std::string out;
  for (const auto& [key, value] : labels) {
    out += out.empty() ? ", labels:{" : ",";
    out += json_quoted(key) + ":" + json_quoted(value);
  }
  return out.empty() ? out : out + "}";
}

std::string thread_of(const TaskInfo& task, const LiveStack* stack) {
  if (task.waiting()) return "waits on no thread";
  return fmt::format("thread {} {}", task.thread,
                     stack ? valid_utf8(stack->thread_name) : "(gone)");
}

// The frames' text, made once for all threads that share them: a thousand stuck handlers have one.
class StackTexts {
 public:
  void append(std::string& out, const LiveStack& stack) {
    const sampler::TextFrame* const shared = stack.frames.span().data();
    if (shared == nullptr || !stack.failure.empty()) {
      out += format_stack(stack);
      return;
    }
    const auto [known, is_new] = texts_.try_emplace({shared, stack.end});
    if (is_new) known->second = format_stack(stack);
    out += known->second;
  }

 private:
  std::map<std::pair<const sampler::TextFrame*, sampler::StackEnd>, std::string> texts_;
};

void append_task(std::string& out, StackTexts& texts, const TaskInfo& task, const LiveStack* stack,
                 MonotonicTime now) {
  const Duration age = task.age(now);
  fmt::format_to(std::back_inserter(out), "goroutine {} [{}{}{}]:\n",
                 static_cast<std::uint64_t>(task.id), stack ? stack->state : "gone",
                 minutes_of(age), labels_of(task.label, stack));
  if (stack) texts.append(out, *stack);
  fmt::format_to(std::back_inserter(out), "# task {}: {}, age {}, {}\n",
                 static_cast<std::uint64_t>(task.id), valid_utf8(task.label), format_duration(age),
                 thread_of(task, stack));
  if (task.parent != leakwatch::TaskId::kNone) {
    fmt::format_to(std::back_inserter(out), "# inside task {}\n",
                   static_cast<std::uint64_t>(task.parent));
  }
}

void append_thread(std::string& out, StackTexts& texts, const LiveStack& stack) {
  fmt::format_to(std::back_inserter(out), "goroutine {} [{}{}]:\n", stack.thread, stack.state,
                 labels_of({}, &stack));
  texts.append(out, stack);
  fmt::format_to(std::back_inserter(out), "# thread {} {}\n", stack.thread,
                 valid_utf8(stack.thread_name));
}

}  // namespace

std::string format_dump(const std::vector<TaskInfo>& tasks, const std::vector<LiveStack>& stacks,
                        MonotonicTime now, const AwaitStacks& awaits) {
  std::unordered_map<pid_t, const LiveStack*> by_thread;
  for (const LiveStack& stack : stacks) by_thread.emplace(stack.thread, &stack);

  const auto stack_of = [&](const TaskInfo& task) -> const LiveStack* {
    if (const auto awaits_at = awaits.find(task.id); awaits_at != awaits.end()) {
      return &awaits_at->second;
    }
    const auto stack = by_thread.find(task.thread);
    return stack == by_thread.end() ? nullptr : stack->second;
  };

  std::string out;
  StackTexts texts;
  std::unordered_set<pid_t> with_task;
  for (const TaskInfo& task : tasks) {
    if (!out.empty()) out += '\n';
    append_task(out, texts, task, stack_of(task), now);
    with_task.insert(task.thread);
  }
  for (const LiveStack& stack : stacks) {
    if (with_task.contains(stack.thread)) continue;
    if (!out.empty()) out += '\n';
    append_thread(out, texts, stack);
  }
  return out;
}

AwaitStacks await_stacks(const leakwatch::TaskRegistry& registry,
                         const std::vector<TaskInfo>& tasks) {
  AwaitStacks stacks;
  for (const TaskInfo& task : tasks) {
    if (task.waiting()) stacks.emplace(task.id, leakwatch::await_stack(registry, task));
  }
  return stacks;
}

}  // namespace vigil::endpoints
