#include "endpoints/profile_ring.h"

#include <algorithm>
#include <limits>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "endpoints/json_page.h"

namespace vigil::endpoints {
namespace {

using nlohmann::ordered_json;

// "cpu-20261122T041209Z.pb.gz"
std::string file_name(const KeptProfile& profile) {
  std::string time = format_utc(profile.taken);
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return profile.kind + "-" + time + profile.suffix;
}

Page list_as_json(const ProfileRing& ring) {
  ordered_json list = ordered_json::array();
  for (const ProfileRing::Listed& each : ring.list()) {
    list.push_back({{"id", each.profile.number},
                    {"taken", format_utc(each.profile.taken)},
                    {"kind", each.profile.kind},
                    {"reason", each.profile.reason},
                    {"bytes", each.size},
                    {"file", file_name(each.profile)}});
  }
  const ProfileRing::Counters counters = ring.counters();
  return json_page({{"profiles", std::move(list)},
                    {"bytes", counters.bytes},
                    {"pushed_out", counters.pushed_out},
                    {"too_large", counters.too_large}});
}

Page list_as_text(const ProfileRing& ring) {
  const ProfileRing::Counters counters = ring.counters();
  std::string text = fmt::format(
      "{} profiles taken, {} bytes held; {} pushed out by newer ones, {} too large to keep\n\n"
      "{:>6}  {:20}  {:8}  {:>9}  {}\n",
      counters.added, counters.bytes, counters.pushed_out, counters.too_large, "ID", "TAKEN",
      "KIND", "BYTES", "WHY");
  for (const ProfileRing::Listed& each : ring.list()) {
    fmt::format_to(std::back_inserter(text), "{:>6}  {:20}  {:8}  {:>9}  {}\n", each.profile.number,
                   format_utc(each.profile.taken), each.profile.kind, each.size,
                   each.profile.reason);
  }
  return text_page(text + "\nOne of them: /debug/profiles?id=ID\n");
}

Page download(const ProfileRing& ring, std::string_view id) {
  const auto number = parse_integer(id, 1, std::numeric_limits<std::int64_t>::max());
  if (!number) return error_page(400, "invalid value for \"id\" - " + number.error().message());
  auto profile = ring.find(static_cast<std::uint64_t>(*number));
  if (!profile) return error_page(404, "no such profile is kept, or not any more");
  Page page;
  page.attachment = file_name(*profile);
  page.content_type = profile->suffix == ".txt" ? page.content_type : "application/octet-stream";
  page.body = std::move(profile->bytes);
  return page;
}

}  // namespace

void ProfileRing::add(KeptProfile profile) {
  const std::lock_guard lock(mutex_);
  profile.number = ++counters_.added;
  if (profile.bytes.size() > bytes_max_) {
    ++counters_.too_large;
    return;
  }
  counters_.bytes += profile.bytes.size();
  kept_.push_back(std::move(profile));
  while (counters_.bytes > bytes_max_) {
    counters_.bytes -= kept_.front().bytes.size();
    kept_.pop_front();
    ++counters_.pushed_out;
  }
}

std::vector<ProfileRing::Listed> ProfileRing::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<Listed> listed;
  for (auto each = kept_.rbegin(); each != kept_.rend(); ++each) {
    listed.push_back({KeptProfile{.number = each->number,
                                  .taken = each->taken,
                                  .kind = each->kind,
                                  .reason = each->reason,
                                  .suffix = each->suffix,
                                  .bytes = {}},
                      each->bytes.size()});
  }
  return listed;
}

std::optional<KeptProfile> ProfileRing::find(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(kept_.begin(), kept_.end(),
                               [number](const KeptProfile& each) { return each.number == number; });
  if (at == kept_.end()) return std::nullopt;
  return *at;
}

ProfileRing::Counters ProfileRing::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

Page kept_profiles_page(const PageRequest& request, const Services& services) {
  if (services.kept_profiles == nullptr) {
    return error_page(501, "this process keeps no profiles (AgentOptions::keep_profiles)");
  }
  if (const auto id = request.query.get("id")) return download(*services.kept_profiles, *id);
  return wants_json(request) ? list_as_json(*services.kept_profiles)
                             : list_as_text(*services.kept_profiles);
}

}  // namespace vigil::endpoints
