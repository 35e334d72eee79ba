// What the profile pages share: the answer's form, and waiting.
#pragma once

#include <stop_token>
#include <string_view>

#include "base/clock.h"
#include "endpoints/page.h"
#include "endpoints/services.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// The profile in the form that the request asks for: proto, saved as `file_name`, or text with
// debug≠0. Adds it to Services::totals.
Page profile_page(const sampler::StackProfile& collected, const PageRequest& request,
                  const Services& services, std::string_view file_name);

// Sleeps for `duration`, or until the client is gone (then false).
bool wait_for(Clock& clock, Duration duration, const std::stop_token& stop);

// 400: `seconds` and `debug` exclude each other.
Error incompatible_parameters();

}  // namespace vigil::endpoints
