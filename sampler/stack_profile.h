// What collectors produce and encoders take: stacks of plain addresses with values. No symbols, no
// I/O.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "sampler/address.h"

namespace vigil::sampler {

// The name and unit of one column: {"cpu", "nanoseconds"}. No '-' in the name (Pyroscope refuses
// it).
struct ValueType {
  std::string type;
  std::string unit;
  friend bool operator==(const ValueType&, const ValueType&) = default;
};

// A string label has an empty unit and `text`; a numeric one has a unit ("bytes") and `number`.
struct Label {
  std::string key;
  std::string text;
  std::int64_t number = 0;
  std::string unit;
  friend auto operator<=>(const Label&, const Label&) = default;
};

// Which frames a profile's stacks begin with.
enum class LeafFrames : std::uint8_t {
  kAll,
  kWithoutAllocator,  // operator new, tcmalloc's and the standard library's allocation plumbing are
                      // left out, so that a heap profile's leaves are the functions that wanted the
                      // memory
};

// What is known of a frame that is no code.
struct MadeUpFrame {
  std::string function;
  std::string file = {};
  std::int32_t line = 0;
};

struct StackSample {
  Stack stack;
  std::vector<std::int64_t> values;  // one for each of StackProfile::sample_types
  std::vector<Label> labels;
};

// What a profile's counters count.
enum class CounterSpan : std::uint8_t {
  kProfile,     // what happened while this profile was taken
  kSinceStart,  // what has happened since its collector began, as the totals in its columns
};

// A profile before symbolization. Samples with equal stacks and labels may repeat; the encoder
// merges them.
struct StackProfile {
  std::string name;  // the page's name, "profile", "heap", …; used in file names and texts
  std::vector<ValueType> sample_types;
  std::string default_sample_type;
  ValueType period_type;
  std::int64_t period = 0;
  WallTime start{};
  Duration duration{};  // zero for a snapshot
  std::vector<StackSample> samples;
  LeafFrames leaf_frames = LeafFrames::kAll;
  // By FrameAddress::made_up() or place(); frames of these kinds that are not here are left out.
  std::map<FrameAddress, MadeUpFrame> made_up_frames;
  // Loss is data: each nonzero counter becomes a comment of the profile, "vigil: samples_lost=12".
  std::map<std::string, std::int64_t, std::less<>> counters;
  CounterSpan counter_span = CounterSpan::kProfile;
  // How it was taken: comments likewise, but no counts.
  std::map<std::string, std::int64_t, std::less<>> settings;
};

}  // namespace vigil::sampler
