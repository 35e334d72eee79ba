// From the bytes of a pprof file to PprofProfile.
#include <protozero/pbf_message.hpp>
#include <zlib.h>

#include "sampler/pprof_encoder_fields.h"
#include "tests/support/pprof_checker.h"

namespace vigil::test {
namespace {

namespace pb = vigil::sampler::pb;
using protozero::pbf_message;
using protozero::pbf_reader;

PprofValueType read_value_type(pbf_reader data) {
  PprofValueType out;
  for (pbf_message<pb::ValueType> m(data); m.next();) {
    if (m.tag() == pb::ValueType::kType)
      out.type = m.get_int64();
    else if (m.tag() == pb::ValueType::kUnit)
      out.unit = m.get_int64();
    else
      m.skip();
  }
  return out;
}

PprofLabel read_label(pbf_reader data) {
  PprofLabel out;
  for (pbf_message<pb::Label> m(data); m.next();) {
    switch (m.tag()) {
      case pb::Label::kKey:
        out.key = m.get_int64();
        break;
      case pb::Label::kStr:
        out.str = m.get_int64();
        break;
      case pb::Label::kNum:
        out.num = m.get_int64();
        break;
      case pb::Label::kNumUnit:
        out.num_unit = m.get_int64();
        break;
      default:
        m.skip();
    }
  }
  return out;
}

PprofSample read_sample(pbf_reader data) {
  PprofSample out;
  for (pbf_message<pb::Sample> m(data); m.next();) {
    if (m.tag() == pb::Sample::kLocationId) {
      for (const auto id : m.get_packed_uint64()) out.location_ids.push_back(id);
    } else if (m.tag() == pb::Sample::kValue) {
      for (const auto value : m.get_packed_int64()) out.values.push_back(value);
    } else if (m.tag() == pb::Sample::kLabel) {
      out.labels.push_back(read_label(m.get_message()));
    } else {
      m.skip();
    }
  }
  return out;
}

PprofMapping read_mapping(pbf_reader data) {
  PprofMapping out;
  for (pbf_message<pb::Mapping> m(data); m.next();) {
    switch (m.tag()) {
      case pb::Mapping::kId:
        out.id = m.get_uint64();
        break;
      case pb::Mapping::kMemoryStart:
        out.memory_start = m.get_uint64();
        break;
      case pb::Mapping::kMemoryLimit:
        out.memory_limit = m.get_uint64();
        break;
      case pb::Mapping::kFileOffset:
        out.file_offset = m.get_uint64();
        break;
      case pb::Mapping::kFilename:
        out.filename = m.get_int64();
        break;
      case pb::Mapping::kBuildId:
        out.build_id = m.get_int64();
        break;
      case pb::Mapping::kHasFunctions:
        out.has_functions = m.get_bool();
        break;
      case pb::Mapping::kHasFilenames:
        out.has_filenames = m.get_bool();
        break;
      case pb::Mapping::kHasLineNumbers:
        out.has_line_numbers = m.get_bool();
        break;
      case pb::Mapping::kHasInlineFrames:
        out.has_inline_frames = m.get_bool();
        break;
      default:
        m.skip();
    }
  }
  return out;
}

PprofLine read_line(pbf_reader data) {
  PprofLine out;
  for (pbf_message<pb::Line> m(data); m.next();) {
    if (m.tag() == pb::Line::kFunctionId)
      out.function_id = m.get_uint64();
    else if (m.tag() == pb::Line::kLine)
      out.line = m.get_int64();
    else
      m.skip();
  }
  return out;
}

PprofLocation read_location(pbf_reader data) {
  PprofLocation out;
  for (pbf_message<pb::Location> m(data); m.next();) {
    switch (m.tag()) {
      case pb::Location::kId:
        out.id = m.get_uint64();
        break;
      case pb::Location::kMappingId:
        out.mapping_id = m.get_uint64();
        break;
      case pb::Location::kAddress:
        out.address = m.get_uint64();
        break;
      case pb::Location::kLine:
        out.lines.push_back(read_line(m.get_message()));
        break;
      default:
        m.skip();
    }
  }
  return out;
}

PprofFunction read_function(pbf_reader data) {
  PprofFunction out;
  for (pbf_message<pb::Function> m(data); m.next();) {
    switch (m.tag()) {
      case pb::Function::kId:
        out.id = m.get_uint64();
        break;
      case pb::Function::kName:
        out.name = m.get_int64();
        break;
      case pb::Function::kSystemName:
        out.system_name = m.get_int64();
        break;
      case pb::Function::kFilename:
        out.filename = m.get_int64();
        break;
      case pb::Function::kStartLine:
        out.start_line = m.get_int64();
        break;
      default:
        m.skip();
    }
  }
  return out;
}

PprofProfile read_profile(pbf_reader data) {
  PprofProfile out;
  for (pbf_message<pb::Profile> m(data); m.next();) {
    switch (m.tag()) {
      case pb::Profile::kSampleType:
        out.sample_types.push_back(read_value_type(m.get_message()));
        break;
      case pb::Profile::kSample:
        out.samples.push_back(read_sample(m.get_message()));
        break;
      case pb::Profile::kMapping:
        out.mappings.push_back(read_mapping(m.get_message()));
        break;
      case pb::Profile::kLocation:
        out.locations.push_back(read_location(m.get_message()));
        break;
      case pb::Profile::kFunction:
        out.functions.push_back(read_function(m.get_message()));
        break;
      case pb::Profile::kStringTable:
        out.strings.push_back(m.get_string());
        break;
      case pb::Profile::kTimeNanos:
        out.time_nanos = m.get_int64();
        break;
      case pb::Profile::kDurationNanos:
        out.duration_nanos = m.get_int64();
        break;
      case pb::Profile::kPeriodType:
        out.period_type = read_value_type(m.get_message());
        break;
      case pb::Profile::kPeriod:
        out.period = m.get_int64();
        break;
      case pb::Profile::kComment:
        out.comments.push_back(m.get_int64());
        break;
      case pb::Profile::kDefaultSampleType:
        out.default_sample_type = m.get_int64();
        break;
      default:
        m.skip();
    }
  }
  return out;
}

}  // namespace

Result<std::string> gunzip(std::string_view bytes) {
  z_stream stream{};
  constexpr int kGzipOnly = 16;
  if (::inflateInit2(&stream, MAX_WBITS + kGzipOnly) != Z_OK) {
    return Error(ErrorCode::kResourceExhausted, "inflateInit2");
  }
  std::string in(bytes);
  std::string out;
  std::vector<char> buffer(64 * 1024);
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    status = ::inflate(&stream, Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  const bool whole = status == Z_STREAM_END && stream.avail_in == 0;
  ::inflateEnd(&stream);
  if (!whole) return Error(ErrorCode::kInvalidArgument, "not one whole gzip stream");
  return out;
}

Result<PprofProfile> decode_pprof(std::string_view raw) {
  try {
    return read_profile(pbf_reader(raw.data(), raw.size()));
  } catch (const protozero::exception& e) {
    return Error(ErrorCode::kInvalidArgument, std::string("not a protobuf message: ") + e.what());
  }
}

Result<PprofProfile> read_pprof(std::string_view gzipped) {
  Result<std::string> raw = gunzip(gzipped);
  if (!raw) return std::move(raw).error();
  return decode_pprof(*raw);
}

}  // namespace vigil::test
