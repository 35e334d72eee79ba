#include "endpoints/about.h"

#include <fstream>
#include <sstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/version.h"
#include "endpoints/changes.h"
#include "endpoints/json_page.h"

namespace vigil::endpoints {
namespace {

using nlohmann::ordered_json;

constexpr Duration kLevelTimeMax = std::chrono::hours(24);

constexpr std::string_view kCompiler =
#if defined(__clang__)
    "clang " __clang_version__;
#else
    "gcc " __VERSION__;
#endif

std::string_view mode_of_build() {
#ifdef NDEBUG
  return "release";
#else
  return "with assertions";
#endif
}

Page show_level(const LevelSink& sink, MonotonicTime now) {
  std::string text(log_level_name(sink.level()));
  if (const auto until = sink.until()) text += " for " + format_duration(*until - now);
  return text_page(text + "\n");
}

// The parameter in the query, or in the form that was sent.
std::string parameter(const PageRequest& request, std::string_view name) {
  if (const auto value = request.query.get(name)) return std::string(*value);
  return std::string(http::QueryParams::parse(request.body).get(name).value_or(""));
}

}  // namespace

Page build_info_page(const PageRequest& request, const Services& services) {
  const auto table = services.modules.current();
  if (wants_json(request)) {
    ordered_json modules = ordered_json::array();
    for (const sampler::Module& module : table->modules()) {
      modules.push_back({{"path", module.path},
                         {"build_id", module.build_id},
                         {"start", hex_address(module.start)},
                         {"main", module.is_main},
                         {"deleted", module.deleted}});
    }
    return json_page({{"vigil", kVersionText},
                      {"compiler", kCompiler},
                      {"mode", mode_of_build()},
                      {"modules", std::move(modules)}});
  }
  std::string text = fmt::format("vigil {} ({}, {})\n\n", kVersionText, kCompiler, mode_of_build());
  for (const sampler::Module& module : table->modules()) {
    fmt::format_to(std::back_inserter(text), "{:40}  {:#014x}  {}{}\n",
                   module.build_id.empty() ? "-" : module.build_id, module.start, module.path,
                   module.deleted ? "  (not the file on disk any more)" : "");
  }
  return text_page(std::move(text));
}

Page maps_page(const PageRequest&, const Services&) {
  std::ifstream file("/proc/self/maps");
  std::ostringstream text;
  text << file.rdbuf();
  if (!file.is_open()) return error_page(500, "cannot open /proc/self/maps");
  return text_page(std::move(text).str());
}

Page log_level_page(const PageRequest& request, const Services& services) {
  LevelSink* sink = services.log_level;
  if (sink == nullptr) {
    return error_page(501,
                      "this program has handed over no log whose level can be changed "
                      "(AgentOptions::log_level)");
  }
  if (request.method != "POST") return show_level(*sink, services.clock.now());
  if (const auto allowed = may_change(request, services); !allowed) {
    return error_page(allowed.error());
  }
  const auto level = log_level_of(parameter(request, "level"));
  if (!level) {
    return error_page(400, "invalid value for \"level\" - must be debug, info, warn or error");
  }
  const std::string time_text = parameter(request, "for");
  if (time_text.empty()) {
    sink->set_level(*level);
    return show_level(*sink, services.clock.now());
  }
  const auto time = parse_duration(time_text);
  if (!time || *time == Duration(0) || *time > kLevelTimeMax) {
    return error_page(400, "invalid value for \"for\" - must be a duration up to 24h");
  }
  sink->set_level_for(*level, *time);
  return show_level(*sink, services.clock.now());
}

}  // namespace vigil::endpoints
