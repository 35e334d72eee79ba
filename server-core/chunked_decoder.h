// ChunkedDecoder: the chunked transfer coding (RFC 9112 §7.1), strict. Bytes in, data and trailers
// out; no I/O.
//
//   size [;ext] CRLF data CRLF … 0 CRLF [trailers] CRLF
//
// Our own, although llhttp has one: it lets through line ends and sizes that proxies read
// differently (P1.12), has no budget for extensions (P1.13), and gives no trailers apart from
// headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server-core/headers.h"

namespace vigil::http {

class ChunkedDecoder {
 public:
  static constexpr std::size_t kExtensionBytesMax = 4 * 1024;  // a chunk
  static constexpr std::size_t kExtensionBytesFree =
      16 * 1024;  // a body; plus an eighth of its data
  static constexpr std::size_t kSizeDigitsMax = 16;

  struct Limits {
    std::uint64_t body_bytes_max = 0;  // 0: none
    std::size_t trailer_bytes_max = 64 * 1024;
    std::size_t trailer_fields_max = 256;
  };

  enum class Status : std::uint8_t {
    kMore,        // all input was taken; there is more to come
    kOutputFull,  // data was written up to the end of `out`
    kEnd,         // the body is complete; input behind it was left
    kMalformed,   // error() says how
    kTooLong,     // the body has more than body_bytes_max bytes
  };

  struct Step {
    Status status;
    std::size_t consumed;  // bytes of `in` that were taken
    std::size_t produced;  // bytes of data that were written to `out`
  };

  explicit ChunkedDecoder(Limits limits) : limits_(limits) {}

  // Decodes as much as `in` has and `out` holds. The outcome does not depend on how the input is
  // cut. After kEnd, kMalformed or kTooLong it gives the same again without taking anything.
  Step decode(std::string_view in, char* out, std::size_t out_size);

  // Trailer fields; complete after kEnd. Framing fields (Content-Length, Transfer-Encoding, Host,
  // …) are malformed there.
  const HeaderMap& trailers() const { return trailers_; }
  std::string_view error() const { return error_; }

 private:
  enum class State : std::uint8_t {
    kSize,       // hex digits; -> kExtension at ";", -> kSizeLf at CR
    kExtension,  // checked and ignored; -> kSizeLf at CR
    kSizeLf,     // -> kData, or kTrailer after the size 0
    kData,       // -> kDataCr when the chunk's data is complete
    kDataCr,     // -> kDataLf
    kDataLf,     // -> kSize
    kTrailer,    // a trailer line's bytes; -> kTrailerLf at CR
    kTrailerLf,  // -> kTrailer, or kEnd after an empty line
    kEnd,
    kFailed,
  };

  // Inside kExtension: what RFC 9112 §7.1.1 says may come next.
  enum class Extension : std::uint8_t {
    kBegin,      // behind ";": white space, or a name's first byte -> kName
    kName,       // -> kValue at "=", kBegin at ";", the end at CR
    kValue,      // behind "=": a value's first byte -> kToken, kQuoted at a quote
    kToken,      // -> kBegin at ";", the end at CR
    kQuoted,     // -> kEscaped at a backslash, kQuotedEnd at a quote
    kEscaped,    // any byte -> kQuoted
    kQuotedEnd,  // -> kBegin at ";", the end at CR
  };

  Status take(char byte);
  Status take_size_byte(char byte);
  Status take_extension_byte(char byte);
  bool advance_extension(char byte);
  Status take_trailer_byte(char byte);
  Status begin_chunk();
  Status end_trailer_line();
  Status fail(std::string_view error);

  Limits limits_;
  State state_ = State::kSize;
  Extension extension_ = Extension::kBegin;
  Status failure_ = Status::kMalformed;
  std::uint64_t chunk_left_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t extension_bytes_all_ = 0;
  std::size_t size_digits_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  std::string line_;  // the trailer line so far
  HeaderMap trailers_;
  std::string_view error_;
};

}  // namespace vigil::http
