#include "leakwatch/leakcheck/ignore_rules.h"

#include <algorithm>

namespace vigil::leakwatch {
namespace {

bool matches_one(std::string_view name, const std::vector<std::string>& rules) {
  return std::any_of(rules.begin(), rules.end(),
                     [name](const std::string& rule) { return matches_rule(name, rule); });
}

bool matches_frame(std::span<const sampler::TextFrame> frames,
                   const std::vector<std::string>& rules) {
  return std::any_of(frames.begin(), frames.end(), [&rules](const sampler::TextFrame& frame) {
    return matches_one(frame.function, rules);
  });
}

}  // namespace

bool matches_rule(std::string_view name, std::string_view rule) {
  if (rule.ends_with('*')) return name.starts_with(rule.substr(0, rule.size() - 1));
  return name == rule;
}

bool is_ignored(const IgnoreRules& rules, const IgnoreFacts& facts) {
  if (!facts.now.empty() && matches_one(facts.now.front().function, rules.top_function))
    return true;
  return matches_frame(facts.now, rules.any_function) ||
         matches_frame(facts.created, rules.creator) ||
         (!facts.thread_name.empty() && matches_one(facts.thread_name, rules.thread_name));
}

}  // namespace vigil::leakwatch
