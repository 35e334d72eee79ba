// The watchdog's log records.
#include "base/text.h"
#include "leakwatch/watchdog.h"

namespace vigil::leakwatch {
namespace {

std::string_view message_of(const StuckReport& report, bool is_new) {
  if (report.leaked) return "handler leaked past its timeout";
  if (report.stalled) return is_new ? "stream stalled" : "stream still stalled";
  return is_new ? "handler stuck" : "handler still stuck";
}

}  // namespace

bool RecordLimit::allows(MonotonicTime now) {
  if (!minute_ || now - *minute_ >= std::chrono::minutes(1)) {
    minute_ = now;
    written_ = 0;
  }
  if (written_ < per_minute_max_) {
    ++written_;
    return true;
  }
  ++since_last_;
  ++suppressed_;
  return false;
}

void Watchdog::log_report(const StuckReport& report, bool is_new, MonotonicTime now) {
  const TaskInfo& task = report.task;
  std::vector<LogField> fields = {{"report", report.number},
                                  {"task", static_cast<std::uint64_t>(task.id)},
                                  {"label", task.label},
                                  {"age_ms", whole_milliseconds(task.age(now))}};
  if (task.streaming()) {
    fields.emplace_back("without_progress_ms", whole_milliseconds(task.without_progress(now)));
  }
  fields.emplace_back("threshold_ms", whole_milliseconds(report.limit));
  if (report.level > 0) fields.emplace_back("thresholds_passed", std::uint64_t{1} << report.level);
  if (report.leaked) fields.emplace_back("timeout_ms", whole_milliseconds(task.timeout()));
  if (report.stuck_now > 1) fields.emplace_back("tasks", report.stuck_now);
  if (report.abandoned()) fields.emplace_back("abandoned", true);
  if (report.draining) fields.emplace_back("draining", true);
  if (report.request) {
    fields.emplace_back("method", report.request->method);
    fields.emplace_back("target", report.request->target);
    fields.emplace_back("peer", report.request->peer);
    if (!report.request->request_id.empty()) {
      fields.emplace_back("request_id", report.request->request_id);
    }
  }
  const std::string text = format_stack(report.stack);
  const std::string movement = movement_text(report.movement);
  const std::string holder =
      report.holder ? thread_title(report.holder->stack, report.holder->task) : "";
  const std::string holder_stack = report.holder ? format_stack(report.holder->stack) : "";
  fields.emplace_back("thread", task.thread);
  fields.emplace_back("thread_name", report.stack.thread_name);
  fields.emplace_back("state", report.stack.state);
  const std::string place = place_of(report.stack);
  if (!place.empty()) fields.emplace_back("where", place);
  if (!report.stack.wait.text.empty()) fields.emplace_back("waits_for", report.stack.wait.text);
  if (!holder.empty()) fields.emplace_back("holder", holder);
  if (!holder.empty()) fields.emplace_back("holder_stack", holder_stack);
  if (!movement.empty()) fields.emplace_back("movement", movement);
  fields.emplace_back("stack", text);
  write_limited(LogLevel::kWarn, message_of(report, is_new), std::move(fields), now);
}

void Watchdog::log_recovery(const StuckReport& report, MonotonicTime now) {
  const bool goes_on = report.stalled && registry_.is_live(report.task.id);
  std::vector<LogField> fields = {{"report", report.number},
                                  {"task", static_cast<std::uint64_t>(report.task.id)},
                                  {"label", report.task.label},
                                  {"age_ms", whole_milliseconds(report.total_age)}};
  if (report.tasks > 1) fields.emplace_back("tasks", report.tasks);
  write_limited(LogLevel::kInfo, goes_on ? "stream moves again" : "handler recovered",
                std::move(fields), now);
}

void Watchdog::write_limited(LogLevel level, std::string_view message, std::vector<LogField> fields,
                             MonotonicTime now) {
  if (!record_limit_.allows(now)) return;
  const std::uint64_t suppressed = record_limit_.take_suppressed();
  if (suppressed > 0) fields.emplace_back("suppressed_before", suppressed);
  log_.write(level, message, fields);
}

}  // namespace vigil::leakwatch
