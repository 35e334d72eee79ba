// An independent reader of profile.proto and a checker of what all its clients ask for
// (compatibility rules "D0" of the design: the union of google/pprof's CheckValid, Parca's,
// Pyroscope's and Alloy's rules). For tests only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vigil::test {

struct PprofValueType {
  std::int64_t type = 0;
  std::int64_t unit = 0;
};

struct PprofLabel {
  std::int64_t key = 0;
  std::int64_t str = 0;
  std::int64_t num = 0;
  std::int64_t num_unit = 0;
};

struct PprofSample {
  std::vector<std::uint64_t> location_ids;
  std::vector<std::int64_t> values;
  std::vector<PprofLabel> labels;
};

struct PprofMapping {
  std::uint64_t id = 0;
  std::uint64_t memory_start = 0;
  std::uint64_t memory_limit = 0;
  std::uint64_t file_offset = 0;
  std::int64_t filename = 0;
  std::int64_t build_id = 0;
  bool has_functions = false;
  bool has_filenames = false;
  bool has_line_numbers = false;
  bool has_inline_frames = false;
};

struct PprofLine {
  std::uint64_t function_id = 0;
  std::int64_t line = 0;
};

struct PprofLocation {
  std::uint64_t id = 0;
  std::uint64_t mapping_id = 0;
  std::uint64_t address = 0;
  std::vector<PprofLine> lines;
};

struct PprofFunction {
  std::uint64_t id = 0;
  std::int64_t name = 0;
  std::int64_t system_name = 0;
  std::int64_t filename = 0;
  std::int64_t start_line = 0;
};

// The message as it is in the bytes: nothing resolved, nothing assumed.
struct PprofProfile {
  std::vector<PprofValueType> sample_types;
  std::vector<PprofSample> samples;
  std::vector<PprofMapping> mappings;
  std::vector<PprofLocation> locations;
  std::vector<PprofFunction> functions;
  std::vector<std::string> strings;
  std::int64_t time_nanos = 0;
  std::int64_t duration_nanos = 0;
  PprofValueType period_type;
  std::int64_t period = 0;
  std::vector<std::int64_t> comments;
  std::int64_t default_sample_type = 0;

  // The string of that number; "?" if there is none.
  std::string text(std::int64_t number) const;
};

// Undoes gzip. invalid_argument for anything but one whole gzip stream.
Result<std::string> gunzip(std::string_view bytes);

// Decodes the message. invalid_argument for bytes that are not of the format.
Result<PprofProfile> decode_pprof(std::string_view raw);

// gunzip and decode_pprof.
Result<PprofProfile> read_pprof(std::string_view gzipped);

// What is wrong with it, one sentence each; empty for a profile that every client takes.
std::vector<std::string> check_pprof(const PprofProfile& profile);

// The value of column `type` ("cpu"), added up over the samples that have `function` anywhere in
// their stack.
std::int64_t pprof_total(const PprofProfile& profile, std::string_view type,
                         std::string_view function);

}  // namespace vigil::test
