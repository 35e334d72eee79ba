#include "endpoints/profile_formats.h"

#include <cstddef>

#include <fmt/core.h>

#include "sampler/flame_page.h"
#include "sampler/pprof_encoder.h"
#include "sampler/profile.h"
#include "sampler/profile_text.h"

namespace vigil::endpoints {
namespace {

struct FormatName {
  std::string_view name;
  ProfileFormat format;
};
constexpr FormatName kFormats[] = {{"proto", ProfileFormat::kProto},
                                   {"pprof", ProfileFormat::kProto},
                                   {"text", ProfileFormat::kText},
                                   {"folded", ProfileFormat::kFolded},
                                   {"flame", ProfileFormat::kFlame}};

// The column that `sample_index` names; the default one without it or with an unknown name, as `go tool pprof` does not
// fail either where it can show something.
std::size_t folded_column(const sampler::Profile& profile, const PageRequest& request) {
  const std::string_view wanted = request.query.get("sample_index").value_or("");
  for (std::size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i].type == wanted) return i;
  }
  return sampler::default_column(profile);
}

}  // namespace

Result<ProfileFormat> profile_format(const PageRequest& request) {
  const auto wanted = request.query.get("format");
  if (!wanted) {
    return lenient_integer(request, "debug") != 0 ? ProfileFormat::kText : ProfileFormat::kProto;
  }
  std::string names;
  for (const FormatName& known : kFormats) {
    if (known.name == *wanted) return known.format;
    names += names.empty() ? "" : ", ";
    names += known.name;
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("invalid value for \"format\" - must be one of {}", names));
}

Page profile_page(const sampler::StackProfile& collected, ProfileFormat format,
                  const PageRequest& request, const Services& services,
                  std::string_view file_name) {
  services.totals.add(collected);
  const bool without_names = request.query.get("symbolize").value_or("") == "0";
  const sampler::Profile profile = sampler::build_profile(
      collected, *services.modules.current(), without_names ? nullptr : &services.symbolizer);
  switch (format) {
    case ProfileFormat::kText:
      return text_page(sampler::render_debug_text(profile));
    case ProfileFormat::kFolded:
      return text_page(sampler::render_folded(profile, folded_column(profile, request)));
    case ProfileFormat::kFlame:
      return html_page(sampler::render_flame_page(profile));
    case ProfileFormat::kProto:
      break;
  }
  Page page;
  page.content_type = "application/octet-stream";
  page.attachment = file_name;
  page.body = sampler::encode_pprof(profile);
  return page;
}

}  // namespace vigil::endpoints
