#include "endpoints/tasks_html.h"

#include <array>

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/html_head.h"

namespace vigil::endpoints {
namespace {

using leakwatch::TaskInfo;

struct Option {
  std::string_view value;
  std::string_view text;
};
constexpr std::array<Option, 5> kStates = {{{"", "any"},
                                            {"stuck", "stuck"},
                                            {"late", "past its own timeout"},
                                            {"streaming", "streaming"},
                                            {"waiting", "on no thread"}}};

std::string selection(const PageRequest& request) {
  const auto chosen = request.query.get("state").value_or("");
  std::string options;
  for (const Option& option : kStates) {
    options += fmt::format("<option value=\"{}\"{}>{}</option>", option.value,
                           option.value == chosen ? " selected" : "", option.text);
  }
  return "<select name=state>" + options + "</select>";
}

std::string field(const PageRequest& request, std::string_view name, std::string_view hint) {
  return fmt::format("<input name={} size=14 value=\"{}\" placeholder=\"{}\">", name,
                     html_escaped(request.query.get(name).value_or("")), hint);
}

std::string form(const PageRequest& request) {
  return fmt::format(
      "<form><input type=hidden name=format value=html><input type=hidden name=sort value=\"{}\">"
      "<label>Route {}</label><label>At least {}</label><label>State {}</label>"
      "<button>Show</button> <a href=\"?format=html\">all</a></form>\n",
      html_escaped(request.query.get("sort").value_or("age")), field(request, "route", "/orders"),
      field(request, "min_age", "500ms"), selection(request));
}

// A column's head: sorts by it, and keeps the filters.
std::string column(const PageRequest& request, std::string_view name, std::string_view sort,
                   std::string_view style = "") {
  const bool is_chosen = request.query.get("sort").value_or("age") == sort;
  std::string link = fmt::format("?format=html&sort={}", sort);
  for (const std::string_view filter : {"route", "min_age", "state"}) {
    const auto value = request.query.get(filter);
    if (value && !value->empty()) {
      link += fmt::format("&{}={}", filter, http::percent_encoded_path(*value));
    }
  }
  return fmt::format("<th{}><a href=\"{}\">{}{}</a></th>", style, html_escaped(link), name,
                     is_chosen ? " ▾" : "");
}

std::string request_of(const TaskInfo& task, const Services& services) {
  const auto request = services.tasks.request_of(task.id);
  if (!request) return "";
  std::string text = fmt::format("{} {} from {}", html_escaped(request->method),
                                 html_escaped(request->target), html_escaped(request->peer));
  if (!request->request_id.empty()) text += " " + html_escaped(request->request_id);
  return request->client_gone ? text + ", client gone" : text;
}

void append_row(std::string& out, const TaskInfo& task, const TaskStates& states,
                const std::string& request) {
  const std::string state = states.of(task);
  fmt::format_to(std::back_inserter(out),
                 "<tr><td class=number>{}</td><td class=number>{}</td><td{}>{}</td><td "
                 "class=number>{}</td><td>{}</td><td>{}</td></tr>\n",
                 static_cast<std::uint64_t>(task.id), format_duration(task.age(states.now)),
                 state.starts_with("stuck") ? " class=stuck" : "", state,
                 task.waiting() ? "" : std::to_string(task.thread),
                 html_escaped(valid_utf8(task.label)), request);
}

}  // namespace

std::string TaskStates::of(const TaskInfo& task) const {
  std::string states;
  const auto add = [&](bool is, std::string_view name) {
    if (!is) return;
    if (!states.empty()) states += ", ";
    states += name;
  };
  add(stuck.contains(task.id), "stuck");
  add(now >= task.gives_up_at, "late");
  add(task.streaming(), "streaming");
  add(task.waiting(), "waiting");
  return states;
}

std::string tasks_html(const std::vector<TaskInfo>& tasks, const TaskStates& states,
                       const PageRequest& request, const Services& services) {
  const auto counters = services.tasks.counters();
  std::string out = html_head("/debug/tasks", 0);
  fmt::format_to(std::back_inserter(out),
                 "<p>{} shown of {} live; {} started, {} untracked. <a "
                 "href=\"/debug/leakwatch?format=html\">What is stuck</a>, <a "
                 "href=\"/debug/pprof/goroutine?debug=2\">all stacks</a>.</p>\n{}<table><tr>{}{}"
                 "<th>State</th>{}{}<th>Request</th></tr>\n",
                 std::min(tasks.size(), kTaskRowsMax), counters.live, counters.started,
                 counters.untracked, form(request), column(request, "Task", "id", " class=number"),
                 column(request, "Age", "age", " class=number"),
                 column(request, "Thread", "thread", " class=number"),
                 column(request, "Label", "label"));
  for (std::size_t i = 0; i < tasks.size() && i < kTaskRowsMax; ++i) {
    append_row(out, tasks[i], states,
               i < kTaskRequestsMax ? request_of(tasks[i], services) : std::string());
  }
  return out + "</table>\n</body>\n</html>\n";
}

}  // namespace vigil::endpoints
