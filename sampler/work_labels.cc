#include "sampler/work_labels.h"

#include <algorithm>

namespace vigil::sampler {
namespace {

constexpr std::string_view kRoute = "route";
constexpr std::string_view kMethod = "method";
constexpr std::string_view kState = "state";
constexpr std::string_view kTask = "task";

bool contains(std::span<const std::string> list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool wants(const LabelChoice& choice, std::string_view key) {
  switch (choice.kind) {
    case LabelChoice::Kind::kUsual:
      return key != kTask;
    case LabelChoice::Kind::kAll:
      return true;
    case LabelChoice::Kind::kNone:
      return false;
    case LabelChoice::Kind::kOnly:
      return contains(choice.keys, key);
  }
  return false;
}

}  // namespace

std::vector<Label> work_labels(const ThreadWork& work, std::string_view state,
                               const LabelChoice& choice) {
  std::vector<Label> labels;
  const LabelSet* own = work.labels.get();
  const auto add = [&](std::string_view key, std::string_view value) {
    if (!value.empty() && wants(choice, key)) {
      labels.push_back({std::string(key), std::string(value), 0, {}});
    }
  };
  const auto add_unless_own = [&](std::string_view key, std::string_view value) {
    if (own == nullptr || own->find(key) == nullptr) add(key, value);
  };
  if (own != nullptr) {
    for (const auto& [key, value] : own->pairs) {
      if (key != kState && key != kTask) add(key, value);
    }
  }
  if (work.name != nullptr) {
    add_unless_own(kRoute, work.name->route);
    add_unless_own(kMethod, work.name->method);
  }
  add(kState, state);
  if (work.task != 0 && wants(choice, kTask)) {
    labels.push_back({std::string(kTask), {}, static_cast<std::int64_t>(work.task), "id"});
  }
  std::sort(labels.begin(), labels.end());
  return labels;
}

bool is_on_route(const ThreadWork& work, std::span<const std::string> routes) {
  if (routes.empty()) return true;
  if (work.labels.get() != nullptr) {
    if (const std::string* route = work.labels.get()->find(kRoute)) {
      return contains(routes, *route);
    }
  }
  return work.name != nullptr &&
         (contains(routes, work.name->route) || contains(routes, work.name->text));
}

}  // namespace vigil::sampler
