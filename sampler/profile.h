// The profile model: what a StackProfile becomes once its addresses have mappings, functions and
// lines.
//
//   Profile profile = build_profile(collected, modules, &symbolizer);
//   std::string body = encode_pprof(profile);           // pprof_encoder.h
//   std::string text = render_debug_text(profile);      // profile_text.h
//
// It is the shape of profile.proto (https://github.com/google/pprof/blob/main/proto/profile.proto)
// with indexes instead of ids, and plain strings instead of a string table: encoders and texts are
// pure functions of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sampler/module_table.h"
#include "sampler/stack_profile.h"
#include "sampler/symbolizer.h"

namespace vigil::sampler {

// Positions in Profile's vectors, as types, so that one is not taken for another. Use index() to
// subscript.
enum class MappingIndex : std::uint32_t {};
enum class FunctionIndex : std::uint32_t {};
enum class LocationIndex : std::uint32_t {};

template <typename Index>
constexpr std::size_t index(Index i) {
  return static_cast<std::size_t>(i);
}

struct ProfileMapping {
  std::uint64_t start = 0;  // of the executable segment
  std::uint64_t limit = 0;
  std::uint64_t file_offset = 0;
  std::string path;
  std::string build_id;         // lower-case hex; empty if the module has none
  std::uint64_t load_bias = 0;  // for texts; not part of the format
  // True only if it holds for every location of the mapping that has a symbol: then pprof asks nobody else. Locations
  // without one are named after their place ("libfoo.so+0x12") if others of the mapping have one.
  bool has_functions = false;
  bool has_filenames = false;
  bool has_line_numbers = false;
  bool has_inline_frames = false;
};

struct ProfileLine {
  FunctionIndex function{};
  std::int64_t line = 0;
};

struct ProfileLocation {
  std::optional<MappingIndex> mapping;  // none: outside every module
  std::uint64_t address = 0;            // FrameAddress::lookup(); unique in the profile, never 0
  std::uint64_t function_offset = 0;    // bytes from the function's entry; 0 if unknown
  std::vector<ProfileLine> lines;       // innermost inlined first; empty if not symbolized
};

struct ProfileSample {
  std::vector<LocationIndex> locations;  // innermost first
  std::vector<std::int64_t> values;      // one for each of Profile::sample_types
  std::vector<Label> labels;             // sorted by key
};

struct Profile {
  std::string name;  // as StackProfile::name
  std::vector<ValueType> sample_types;
  std::string default_sample_type;
  ValueType period_type;
  std::int64_t period = 0;
  WallTime start{};
  Duration duration{};
  std::vector<ProfileMapping> mappings;    // the main program first
  std::vector<SourceFunction> functions;   // no two equal
  std::vector<ProfileLocation> locations;  // by address
  std::vector<ProfileSample> samples;      // by locations, then labels; no two equal in both
  std::vector<std::string> comments;       // "vigil: samples_lost=12"
};

// Symbolizes and normalizes. Samples with equal stacks and labels are added up; the result does not
// depend on the order of the input. `modules`: the table current at capture. `symbolizer`: null
// gives a profile without functions.
//
// A sample without a single frame (its thread was not captured) gets one made-up location below the
// first page, named after the reason ("[not captured]"), so that its weight stays visible. Every
// nonzero counter of `profile` and every kind of incomplete walk ("stacks_truncated") becomes a
// comment.
//
// A sample whose values are all zero after adding up (a difference of two profiles has many) is
// left out.
//
// Every sample must have one value for each sample type (asserted). Not pure: the symbolizer reads
// files. Cost: one symbolizer look-up for each distinct address, one hash a frame.
Profile build_profile(const StackProfile& profile, const ModuleTable& modules,
                      Symbolizer* symbolizer);

// What to print for a location without lines: "libfoo.so+0x1234" (as addr2line takes it), or
// "0x7f…" outside every module.
std::string module_offset_name(const Profile& profile, const ProfileLocation& location);

}  // namespace vigil::sampler
