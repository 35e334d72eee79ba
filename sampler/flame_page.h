// A profile as one self-contained HTML page with an interactive flame graph. Pure.
//
// No network, no other file: style, script and data are inside, and the page's own policy forbids anything else. Names come
// from files that anybody may have written: they travel as JSON in a script element of type application/json, with every
// '<' escaped, and reach the page as text only.
//
// On the page: zoom by click, search by regular expression with the share of what matches, details under the pointer,
// the keyboard (arrows, Enter, Escape, "/"), a selector where the profile has several sample types, light and dark as the
// browser prefers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "sampler/profile.h"

namespace vigil::sampler {

// A frame with less than this part of the whole, in every sample type, is left out with all below it: it would be
// narrower than a tenth of a pixel. Bounds the page; the number left out is shown.
inline constexpr std::int64_t kFlameSmallestPart = 20'000;

// Stacks are merged by function name from the root down, inlined frames are frames of their own. Negative values (a
// difference of two profiles has some) count as zero.
std::string render_flame_page(const Profile& profile);

// The data inside the page, as JSON without '<'. Public for tests:
//   {"name":…, "program":…, "start_ms":…, "duration_ns":…, "types":[["cpu","nanoseconds"],…], "default":1,
//    "comments":[…], "left_out":0, "strings":[…], "nodes":[name, file, children, value of each type, …]}
// Nodes are in preorder, numbers into "strings"; the first is the root.
std::string flame_data(const Profile& profile);

namespace flame {
// flame_page_script.cc
extern const std::string_view kStyle;
extern const std::string_view kBody;
extern const std::string_view kScript;
}  // namespace flame

}  // namespace vigil::sampler
