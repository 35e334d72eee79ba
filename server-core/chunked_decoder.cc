#include "server-core/chunked_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "server-core/head_rules.h"
#include "server-core/headers.h"

namespace vigil::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_text_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7F);
}

// RFC 9110 §6.5.1: what would change the message's framing, routing or meaning after the fact.
bool is_forbidden_trailer(std::string_view name) {
  constexpr std::array<std::string_view, 9> kForbidden = {
      "content-length", "transfer-encoding", "host",        "connection", "trailer", "te",
      "expect",         "authorization",     "content-type"};
  return std::any_of(kForbidden.begin(), kForbidden.end(),
                     [&](std::string_view other) { return equals_ignoring_case(name, other); });
}

}  // namespace

ChunkedDecoder::Step ChunkedDecoder::decode(std::string_view in, char* out, std::size_t out_size) {
  Step step{Status::kMore, 0, 0};
  while (true) {
    if (state_ == State::kEnd) {
      step.status = Status::kEnd;
      return step;
    }
    if (state_ == State::kFailed) {
      step.status = failure_;
      return step;
    }
    if (step.consumed == in.size()) return step;
    if (state_ == State::kData) {
      const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(
          {chunk_left_, in.size() - step.consumed, out_size - step.produced}));
      if (size == 0) {
        step.status = Status::kOutputFull;
        return step;
      }
      std::memcpy(out + step.produced, in.data() + step.consumed, size);
      step.produced += size;
      step.consumed += size;
      chunk_left_ -= size;
      body_bytes_ += size;
      if (chunk_left_ == 0) state_ = State::kDataCr;
      continue;
    }
    (void)take(in[step.consumed++]);
  }
}

ChunkedDecoder::Status ChunkedDecoder::take(char byte) {
  switch (state_) {
    case State::kSize:
      return take_size_byte(byte);
    case State::kExtension:
      return take_extension_byte(byte);
    case State::kSizeLf:
      return byte == '\n' ? begin_chunk() : fail("chunk size not followed by CRLF");
    case State::kDataCr:
      if (byte != '\r') return fail("chunk data not followed by CRLF");
      state_ = State::kDataLf;
      return Status::kMore;
    case State::kDataLf:
      if (byte != '\n') return fail("chunk data not followed by CRLF");
      state_ = State::kSize;
      size_digits_ = 0;
      extension_bytes_ = 0;
      return Status::kMore;
    case State::kTrailer:
      return take_trailer_byte(byte);
    case State::kTrailerLf:
      return byte == '\n' ? end_trailer_line() : fail("CR without LF in the trailers");
    case State::kData:
    case State::kEnd:
    case State::kFailed:
      break;
  }
  return Status::kMore;
}

ChunkedDecoder::Status ChunkedDecoder::take_size_byte(char byte) {
  const int digit = hex_digit(byte);
  if (digit >= 0) {
    if (++size_digits_ > kSizeDigitsMax) return fail("chunk size with too many digits");
    chunk_left_ = size_digits_ == 1 ? 0 : chunk_left_;
    if (chunk_left_ >> 59 != 0) return fail("chunk size too large");  // beyond 2^63
    chunk_left_ = chunk_left_ * 16 + static_cast<std::uint64_t>(digit);
    return Status::kMore;
  }
  if (size_digits_ == 0) return fail("chunk without a size");
  if (byte == '\r') {
    state_ = State::kSizeLf;
    return Status::kMore;
  }
  // RFC 9112 §7.1.1 allows white space before ";" only as bad white space; we do not.
  if (byte != ';') return fail("chunk size is not hexadecimal");
  state_ = State::kExtension;
  extension_ = Extension::kBegin;
  return Status::kMore;
}

// Whether `byte` may come here.
bool ChunkedDecoder::advance_extension(char byte) {
  switch (extension_) {
    case Extension::kBegin:
      if (byte == ' ' || byte == '\t') return true;
      extension_ = Extension::kName;
      return is_token_byte(byte);
    case Extension::kName:
    case Extension::kToken:
    case Extension::kQuotedEnd:
      if (byte == ';') {
        extension_ = Extension::kBegin;
        return true;
      }
      if (byte == '=' && extension_ == Extension::kName) {
        extension_ = Extension::kValue;
        return true;
      }
      return extension_ != Extension::kQuotedEnd && is_token_byte(byte);
    case Extension::kValue:
      extension_ = byte == '"' ? Extension::kQuoted : Extension::kToken;
      return byte == '"' || is_token_byte(byte);
    case Extension::kQuoted:
      if (byte == '"') extension_ = Extension::kQuotedEnd;
      if (byte == '\\') extension_ = Extension::kEscaped;
      return true;
    case Extension::kEscaped:
      extension_ = Extension::kQuoted;
      return true;
  }
  return false;
}

ChunkedDecoder::Status ChunkedDecoder::take_extension_byte(char byte) {
  if (byte == '\r') {
    const bool whole = extension_ == Extension::kName || extension_ == Extension::kToken ||
                       extension_ == Extension::kQuotedEnd;
    if (!whole) return fail("chunk extension that ends early");
    state_ = State::kSizeLf;
    return Status::kMore;
  }
  if (!is_text_byte(byte)) return fail("control byte in a chunk extension");
  if (++extension_bytes_ > kExtensionBytesMax) return fail("chunk extension too long");
  // All extensions together are bounded by the data that they come with (CVE-2023-39326).
  if (++extension_bytes_all_ > kExtensionBytesFree + body_bytes_ / 8) {
    return fail("too many chunk extensions");
  }
  if (!advance_extension(byte)) return fail("malformed chunk extension");
  return Status::kMore;
}

ChunkedDecoder::Status ChunkedDecoder::begin_chunk() {
  if (chunk_left_ == 0) {
    state_ = State::kTrailer;
    return Status::kMore;
  }
  if (limits_.body_bytes_max != 0 && chunk_left_ > limits_.body_bytes_max - body_bytes_) {
    failure_ = Status::kTooLong;
    state_ = State::kFailed;
    error_ = "the body is too long";
    return failure_;
  }
  state_ = State::kData;
  return Status::kMore;
}

ChunkedDecoder::Status ChunkedDecoder::take_trailer_byte(char byte) {
  if (++trailer_bytes_ > limits_.trailer_bytes_max) return fail("trailers too long");
  if (byte == '\r') {
    state_ = State::kTrailerLf;
    return Status::kMore;
  }
  if (!is_text_byte(byte)) return fail("control byte in the trailers");
  line_ += byte;
  return Status::kMore;
}

ChunkedDecoder::Status ChunkedDecoder::end_trailer_line() {
  if (line_.empty()) {
    state_ = State::kEnd;
    return Status::kEnd;
  }
  if (check_field_line(line_)) return fail("malformed trailer");
  const std::string_view line = line_;
  const std::size_t colon = line.find(':');
  std::string_view value = line.substr(colon + 1);
  const std::size_t begin = std::min(value.find_first_not_of(" \t"), value.size());
  value.remove_prefix(begin);
  value = value.substr(0, value.find_last_not_of(" \t") + 1);
  if (is_forbidden_trailer(line.substr(0, colon))) return fail("this field cannot be a trailer");
  if (trailers_.size() == limits_.trailer_fields_max) return fail("too many trailers");
  trailers_.add(line.substr(0, colon), value);
  line_.clear();
  state_ = State::kTrailer;
  return Status::kMore;
}

ChunkedDecoder::Status ChunkedDecoder::fail(std::string_view error) {
  failure_ = Status::kMalformed;
  state_ = State::kFailed;
  error_ = error;
  return failure_;
}

}  // namespace vigil::http
