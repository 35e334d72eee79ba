#include "tests/support/trace_rules.h"

#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace vigil::test {
namespace {

using nlohmann::json;

class Rules {
 public:
  std::vector<std::string> violations;

  void look_at(const json& event) {
    event_ = &event;
    if (!event.is_object() || !event.contains("ph") || !event.contains("name") ||
        !event.contains("pid")) {
      return complain("lacks ph, pid or name");
    }
    const std::string phase = event["ph"];
    if (phase == "M") return look_at_metadata();
    if (!event.contains("ts") || !event["ts"].is_number() || event["ts"] < 0) {
      return complain("has no good ts");
    }
    if (!event.contains("tid")) return complain("has no tid");
    if (phase == "X") return look_at_slice();
    if (phase == "b" || phase == "e") return look_at_async(phase == "b");
    if (phase == "s") return void(flows_.insert(event["id"]));
    if (phase == "f" && !flows_.contains(event["id"]))
      return complain("ends a flow without a begin");
    if (phase != "f" && phase != "i") complain("is of an unknown kind");
  }

  void end() {
    for (const auto& [id, names] : open_) {
      if (!names.empty()) violations.push_back("not ended: " + id + " " + names.back());
    }
    for (const auto& [thread, ends] : slices_) {
      if (names_[thread] != 1) violations.push_back("a thread without one name");
      if (process_names_[thread.first] != 1) violations.push_back("a process without one name");
    }
  }

 private:
  using Thread = std::pair<std::int64_t, std::int64_t>;

  void complain(std::string_view what) {
    if (violations.size() < 20) violations.push_back(event_->dump() + " " + std::string(what));
  }

  void look_at_metadata() {
    const json& event = *event_;
    if (event["name"] == "thread_name") ++names_[{event["pid"], event["tid"]}];
    if (event["name"] == "process_name") ++process_names_[event["pid"]];
  }

  static std::int64_t ns(const json& microseconds) {
    return std::llround(microseconds.get<double>() * 1000);
  }

  void look_at_slice() {
    const json& event = *event_;
    if (!event.contains("dur") || event["dur"] < 0) return complain("has no good dur");
    const std::int64_t begin = ns(event["ts"]);
    const std::int64_t end = begin + ns(event["dur"]);
    Track& track = slices_[{event["pid"], event["tid"]}];
    if (begin < track.last) complain("begins before the one before it");
    track.last = begin;
    while (!track.ends.empty() && track.ends.back() <= begin) track.ends.pop_back();
    if (!track.ends.empty() && end > track.ends.back()) complain("does not nest");
    track.ends.push_back(end);
  }

  void look_at_async(bool begins) {
    const json& event = *event_;
    if (!event.contains("id") || !event.contains("cat")) return complain("has no id or cat");
    const std::string id = event["cat"].get<std::string>() + event["id"].get<std::string>();
    std::vector<std::string>& names = open_[id];
    const std::int64_t at = ns(event["ts"]);
    if (at < last_async_[id]) complain("is earlier than the one before it");
    last_async_[id] = at;
    if (begins) return names.push_back(event["name"]);
    if (names.empty() || names.back() != event["name"]) return complain("ends what is not open");
    names.pop_back();
  }

  struct Track {
    std::int64_t last = 0;
    std::vector<std::int64_t> ends;
  };
  const json* event_ = nullptr;
  std::map<Thread, Track> slices_;
  std::map<Thread, int> names_;
  std::map<std::int64_t, int> process_names_;
  std::map<std::string, std::vector<std::string>> open_;
  std::map<std::string, std::int64_t> last_async_;
  std::set<json> flows_;
};

}  // namespace

std::vector<std::string> trace_violations(const json& trace) {
  if (!trace.is_object() || trace.value("displayTimeUnit", "") != "ms" ||
      !trace.contains("traceEvents") || !trace["traceEvents"].is_array()) {
    return {"no object with displayTimeUnit and traceEvents"};
  }
  Rules rules;
  for (const json& event : trace["traceEvents"]) rules.look_at(event);
  rules.end();
  return std::move(rules.violations);
}

}  // namespace vigil::test
