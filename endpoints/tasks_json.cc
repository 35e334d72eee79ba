#include "endpoints/tasks_json.h"

#include <nlohmann/json.hpp>

namespace vigil::endpoints {
namespace {

using nlohmann::json;

Duration milliseconds_of(const json& value) {
  return std::chrono::milliseconds(value.get<std::int64_t>());
}

TaskList task_list_of(const json& document) {
  TaskList list;
  list.started = document.at("started").get<std::uint64_t>();
  list.untracked = document.at("untracked").get<std::uint64_t>();
  for (const json& task : document.at("tasks")) {
    list.tasks.push_back({task.at("label").get<std::string>(), milliseconds_of(task.at("age_ms"))});
  }
  return list;
}

StuckNow stuck_now_of(const json& document) {
  StuckNow stuck;
  stuck.threshold = milliseconds_of(document.at("threshold_ms"));
  stuck.tasks = document.at("stuck_now").get<std::uint64_t>();
  for (const json& report : document.at("reports")) {
    const auto tasks = report.at("stuck_now").get<std::uint64_t>();
    if (report.at("state") != "stuck" || tasks == 0) continue;
    stuck.by_label[report.at("task").at("label").get<std::string>()] += tasks;
  }
  return stuck;
}

// The library reports every kind of mistake, of form and of type, by an exception.
template <typename Read>
auto parsed(std::string_view text, Read read) -> Result<decltype(read(json()))> {
  try {
    return read(json::parse(text));
  } catch (const json::exception& exception) {
    return Error(ErrorCode::kInvalidArgument, exception.what());
  }
}

}  // namespace

Result<TaskList> parse_tasks_json(std::string_view text) { return parsed(text, task_list_of); }

Result<StuckNow> parse_leakwatch_json(std::string_view text) { return parsed(text, stuck_now_of); }

}  // namespace vigil::endpoints
