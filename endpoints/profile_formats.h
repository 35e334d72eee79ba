// The forms in which every profile page answers.
//
//   auto format = profile_format(request);   // before the capture: a mistake must not cost 30 s
//   if (!format) return error_page(format.error());
//   … capture …
//   return profile_page(profile, *format, request, services, "profile");
#pragma once

#include <cstdint>
#include <string_view>

#include "endpoints/page.h"
#include "endpoints/services.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

enum class ProfileFormat : std::uint8_t {
  kProto,   // gzipped profile.proto, the default; `format=proto` or `pprof`
  kText,    // debug=1 or `format=text`
  kFolded,  // `format=folded`: stacks for flame graph tools; `sample_index` names the column
  kFlame,   // `format=flame`: an HTML page with a flame graph
};

// invalid_argument: a format that does not exist, with the list of those that do.
Result<ProfileFormat> profile_format(const PageRequest& request);

// `symbolize=0` leaves functions out of proto. `file_name` is what a browser saves the proto as.
// Adds the profile to Services::totals.
Page profile_page(const sampler::StackProfile& collected, ProfileFormat format,
                  const PageRequest& request, const Services& services, std::string_view file_name);

}  // namespace vigil::endpoints
