#include "sampler/allocator_frames.h"

#include <algorithm>
#include <array>

namespace vigil::sampler {
namespace {

constexpr std::array<std::string_view, 11> kFunctions = {
    "malloc", "calloc",  "realloc",      "memalign",       "aligned_alloc", "posix_memalign",
    "valloc", "pvalloc", "operator new", "operator new[]", "reallocarray"};

// The anonymous ones are tcmalloc's too (gperftools src/tcmalloc.cc), as they are named without debug
// information.
constexpr std::array<std::string_view, 8> kPrefixes = {"vigil::sampler::interposed::",
                                                       "vigil::sampler::sigsafe::",
                                                       "tcmalloc::",
                                                       "tc_",
                                                       "std::",
                                                       "__gnu_cxx::",
                                                       "(anonymous namespace)::do_malloc",
                                                       "(anonymous namespace)::do_memalign"};

bool is_allocator_line(const Profile& profile, const ProfileLine& line) {
  return is_allocator_function(profile.functions[index(line.function)].name);
}

bool is_allocator_location(const Profile& profile, const ProfileLocation& location) {
  return !location.lines.empty() &&
         std::all_of(location.lines.begin(), location.lines.end(),
                     [&](const ProfileLine& line) { return is_allocator_line(profile, line); });
}

}  // namespace

bool is_allocator_function(std::string_view name) {
  return std::find(kFunctions.begin(), kFunctions.end(), name) != kFunctions.end() ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

void drop_allocator_frames(Profile& profile) {
  for (ProfileSample& sample : profile.samples) {
    const auto first =
        std::find_if(sample.locations.begin(), sample.locations.end(), [&](LocationIndex location) {
          return !is_allocator_location(profile, profile.locations[index(location)]);
        });
    if (first != sample.locations.end()) sample.locations.erase(sample.locations.begin(), first);
  }
  // A location is one address, so what is inlined into it is the same in every sample.
  for (ProfileLocation& location : profile.locations) {
    const auto first =
        std::find_if(location.lines.begin(), location.lines.end(),
                     [&](const ProfileLine& line) { return !is_allocator_line(profile, line); });
    if (first != location.lines.end()) location.lines.erase(location.lines.begin(), first);
  }
}

}  // namespace vigil::sampler
