#include "sampler/pprof_encoder.h"

#include <cassert>
#include <cstdint>
#include <limits>
#include <new>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <protozero/pbf_builder.hpp>
#include <protozero/pbf_writer.hpp>
#include <zlib.h>

#include "base/text.h"
#include "sampler/pprof_encoder_fields.h"

namespace vigil::sampler {
namespace {

using protozero::pbf_builder;

// The string table: each text once, number 0 is "". Keys are views of the profile's strings, which
// outlive the encoding.
class Strings {
 public:
  Strings() { number_of(""); }

  std::int64_t number_of(std::string_view text) {
    const auto [it, is_new] = numbers_.try_emplace(text, static_cast<std::int64_t>(texts_.size()));
    if (is_new) texts_.push_back(text);
    return it->second;
  }

  const std::vector<std::string_view>& texts() const { return texts_; }

 private:
  std::unordered_map<std::string_view, std::int64_t> numbers_;
  std::vector<std::string_view> texts_;
};

// Ids in the format are positions + 1: 0 means "none".
template <typename Index>
std::uint64_t id_of(Index i) {
  return index(i) + 1;
}

class Encoder {
 public:
  Encoder(const Profile& profile, std::string& out) : profile_(profile), message_(out) {}

  void encode() {
    for (const ValueType& type : profile_.sample_types) add_type(pb::Profile::kSampleType, type);
    for (const ProfileSample& sample : profile_.samples) add_sample(sample);
    for (std::size_t i = 0; i < profile_.mappings.size(); ++i) add_mapping(i);
    for (std::size_t i = 0; i < profile_.locations.size(); ++i) add_location(i);
    for (std::size_t i = 0; i < profile_.functions.size(); ++i) add_function(i);
    add_header();
    // Last: now every string has its number.
    for (const std::string_view text : strings_.texts()) {
      message_.add_string(pb::Profile::kStringTable, valid_utf8(text));
    }
  }

 private:
  void add_type(pb::Profile field, const ValueType& type) {
    pbf_builder<pb::ValueType> message(message_, field);
    message.add_int64(pb::ValueType::kType, strings_.number_of(type.type));
    message.add_int64(pb::ValueType::kUnit, strings_.number_of(type.unit));
  }

  void add_sample(const ProfileSample& sample) {
    ids_.clear();
    for (const LocationIndex location : sample.locations) ids_.push_back(id_of(location));
    pbf_builder<pb::Sample> message(message_, pb::Profile::kSample);
    message.add_packed_uint64(pb::Sample::kLocationId, ids_.begin(), ids_.end());
    message.add_packed_int64(pb::Sample::kValue, sample.values.begin(), sample.values.end());
    for (const Label& label : sample.labels) {
      pbf_builder<pb::Label> part(message, pb::Sample::kLabel);
      part.add_int64(pb::Label::kKey, strings_.number_of(label.key));
      if (label.unit.empty()) {
        part.add_int64(pb::Label::kStr, strings_.number_of(label.text));
      } else {
        part.add_int64(pb::Label::kNum, label.number);
        part.add_int64(pb::Label::kNumUnit, strings_.number_of(label.unit));
      }
    }
  }

  void add_mapping(std::size_t i) {
    const ProfileMapping& mapping = profile_.mappings[i];
    pbf_builder<pb::Mapping> message(message_, pb::Profile::kMapping);
    message.add_uint64(pb::Mapping::kId, i + 1);
    message.add_uint64(pb::Mapping::kMemoryStart, mapping.start);
    message.add_uint64(pb::Mapping::kMemoryLimit, mapping.limit);
    message.add_uint64(pb::Mapping::kFileOffset, mapping.file_offset);
    message.add_int64(pb::Mapping::kFilename, strings_.number_of(mapping.path));
    message.add_int64(pb::Mapping::kBuildId, strings_.number_of(mapping.build_id));
    message.add_bool(pb::Mapping::kHasFunctions, mapping.has_functions);
    message.add_bool(pb::Mapping::kHasFilenames, mapping.has_filenames);
    message.add_bool(pb::Mapping::kHasLineNumbers, mapping.has_line_numbers);
    message.add_bool(pb::Mapping::kHasInlineFrames, mapping.has_inline_frames);
  }

  void add_location(std::size_t i) {
    const ProfileLocation& location = profile_.locations[i];
    pbf_builder<pb::Location> message(message_, pb::Profile::kLocation);
    message.add_uint64(pb::Location::kId, i + 1);
    if (location.mapping) message.add_uint64(pb::Location::kMappingId, id_of(*location.mapping));
    message.add_uint64(pb::Location::kAddress, location.address);
    for (const ProfileLine& line : location.lines) {
      pbf_builder<pb::Line> part(message, pb::Location::kLine);
      part.add_uint64(pb::Line::kFunctionId, id_of(line.function));
      if (line.line != 0) part.add_int64(pb::Line::kLine, line.line);
    }
  }

  void add_function(std::size_t i) {
    const SourceFunction& function = profile_.functions[i];
    pbf_builder<pb::Function> message(message_, pb::Profile::kFunction);
    message.add_uint64(pb::Function::kId, i + 1);
    message.add_int64(pb::Function::kName, strings_.number_of(function.name));
    message.add_int64(pb::Function::kSystemName, strings_.number_of(function.system_name));
    message.add_int64(pb::Function::kFilename, strings_.number_of(function.file));
    if (function.start_line != 0) {
      message.add_int64(pb::Function::kStartLine, function.start_line);
    }
  }

  void add_header() {
    message_.add_int64(pb::Profile::kTimeNanos, profile_.start.time_since_epoch().count());
    message_.add_int64(pb::Profile::kDurationNanos, profile_.duration.count());
    add_type(pb::Profile::kPeriodType, profile_.period_type);
    message_.add_int64(pb::Profile::kPeriod, profile_.period);
    for (const std::string& comment : profile_.comments) {
      message_.add_int64(pb::Profile::kComment, strings_.number_of(comment));
    }
    message_.add_int64(pb::Profile::kDefaultSampleType,
                       strings_.number_of(profile_.default_sample_type));
  }

  const Profile& profile_;
  pbf_builder<pb::Profile> message_;
  Strings strings_;
  std::vector<std::uint64_t> ids_;
};

std::string gzip(std::string_view data) {
  z_stream stream{};
  constexpr int kGzipWrapper = 16;
  // Best speed, as Go's runtime/pprof: a profile is read once, and the collector competes with the
  // server for the CPU.
  if (::deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + kGzipWrapper, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();  // its only failure with constant arguments
  }
  assert(data.size() <= std::numeric_limits<uInt>::max());
  std::string out(::deflateBound(&stream, data.size()), '\0');
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));  // NOLINT: zlib does not write
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  [[maybe_unused]] const int status = ::deflate(&stream, Z_FINISH);
  assert(status == Z_STREAM_END);  // deflateBound() is room enough
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

}  // namespace

std::string encode_pprof_raw(const Profile& profile) {
  std::string out;
  Encoder(profile, out).encode();
  return out;
}

std::string encode_pprof(const Profile& profile) { return gzip(encode_pprof_raw(profile)); }

}  // namespace vigil::sampler
