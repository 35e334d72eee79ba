// The JSON of /debug/leakcheck, written and read.

#include <nlohmann/json.hpp>

#include "endpoints/leakcheck.h"

namespace vigil::endpoints {
namespace {

using leakwatch::ProcessSnapshot;
using leakwatch::SnapshotHeapSite;
using leakwatch::SnapshotStuck;
using leakwatch::SnapshotThing;
using nlohmann::ordered_json;

// Says which document this is; a change of meaning gets a new number.
constexpr int kVersion = 1;

ordered_json to_json(const SnapshotThing& thing) {
  return {{"kind", thing.kind},      {"id", thing.id},
          {"birth", thing.birth},    {"name", thing.name},
          {"thread", thing.thread},  {"functions", thing.functions},
          {"stack", thing.stack},    {"created_functions", thing.created_functions},
          {"created", thing.created}};
}

SnapshotThing thing_of(const ordered_json& json) {
  return {.kind = json.at("kind"),
          .id = json.at("id"),
          .birth = json.at("birth"),
          .name = json.at("name"),
          .thread = json.at("thread"),
          .functions = json.at("functions"),
          .stack = json.at("stack"),
          .created_functions = json.at("created_functions"),
          .created = json.at("created")};
}

ordered_json to_json(const SnapshotHeapSite& site) {
  return {{"functions", site.functions},
          {"stack", site.stack},
          {"bytes", site.bytes},
          {"objects", site.objects}};
}

SnapshotHeapSite heap_site_of(const ordered_json& json) {
  return {.functions = json.at("functions"),
          .stack = json.at("stack"),
          .bytes = json.at("bytes"),
          .objects = json.at("objects")};
}

ordered_json to_json(const SnapshotStuck& stuck) {
  return {{"number", stuck.number},
          {"name", stuck.name},
          {"what", stuck.what},
          {"functions", stuck.functions},
          {"stack", stuck.stack}};
}

SnapshotStuck stuck_of(const ordered_json& json) {
  return {.number = json.at("number"),
          .name = json.at("name"),
          .what = json.at("what"),
          .functions = json.at("functions"),
          .stack = json.at("stack")};
}

template <typename Item>
ordered_json list_to_json(const std::vector<Item>& items) {
  ordered_json list = ordered_json::array();
  for (const Item& item : items) list.push_back(to_json(item));
  return list;
}

ProcessSnapshot snapshot_of(const ordered_json& json) {
  ProcessSnapshot snapshot;
  snapshot.pid = json.at("pid");
  for (const ordered_json& thing : json.at("things")) snapshot.things.push_back(thing_of(thing));
  if (!json.at("heap").is_null()) {
    snapshot.heap.emplace();
    for (const ordered_json& site : json.at("heap")) snapshot.heap->push_back(heap_site_of(site));
  }
  for (const ordered_json& stuck : json.at("stuck")) snapshot.stuck.push_back(stuck_of(stuck));
  snapshot.missing = json.at("missing");
  return snapshot;
}

}  // namespace

std::string snapshot_to_json(const ProcessSnapshot& snapshot) {
  ordered_json json = {{"leakcheck", kVersion},
                       {"pid", snapshot.pid},
                       {"things", list_to_json(snapshot.things)},
                       {"heap", nullptr},
                       {"stuck", list_to_json(snapshot.stuck)},
                       {"missing", snapshot.missing}};
  if (snapshot.heap) json["heap"] = list_to_json(*snapshot.heap);
  return json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Result<ProcessSnapshot> parse_snapshot_json(std::string_view text) {
  // The library reports every kind of mistake, of form and of type, by an exception.
  try {
    const ordered_json json = ordered_json::parse(text);
    if (json.at("leakcheck") != kVersion) {
      return Error(ErrorCode::kInvalidArgument, "it is of another version than this program");
    }
    return snapshot_of(json);
  } catch (const ordered_json::exception& exception) {
    return Error(ErrorCode::kInvalidArgument, exception.what());
  }
}

}  // namespace vigil::endpoints
