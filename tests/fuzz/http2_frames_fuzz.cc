// A client's bytes on an HTTP/2 connection: whatever they are, what the session sends is a sound
// sequence of frames, what it keeps is bounded, and it does not matter how the bytes were cut
// (P9.1).

#include <algorithm>
#include <string>

#include "tests/fuzz/fuzz.h"
#include "tests/support/http2_echo.h"
#include "tests/support/http2_frames.h"

namespace {

using namespace vigil::http;
using vigil::fuzz::Cuts;
using vigil::fuzz::fuzz_require;
using vigil::test::Http2Echo;
namespace h2 = vigil::test::h2;

Http2Session::Limits limits() {
  Http2Session::Limits limits;
  limits.streams_max = 4;
  limits.stream_window = 1024;
  limits.connection_window = 64 * 1024;
  limits.header_bytes_max = 512;
  limits.header_fields_max = 12;
  return limits;
}

void check_bounds(Http2Session& session) {
  fuzz_require(session.streams().size() <= 4, "no more streams than allowed");
  for (const auto& stream : session.streams()) {
    fuzz_require(stream->unread_bytes() <= 1024, "no more body than the window");
    fuzz_require(stream->text.size() <= 2048, "no more of a head than the limit");
    if (!stream->head_whole) continue;
    for (const HeaderField& field : stream->fields) {
      fuzz_require(is_header_name(field.name) && is_header_value(field.value), "clean fields");
    }
  }
}

// Behind a client's GOAWAY nghttp2 looks at what comes in the same piece, but no further.
bool has_goaway(std::string_view bytes) {
  constexpr std::size_t kHead = 9;
  if (bytes.starts_with(h2::kPreface)) bytes.remove_prefix(h2::kPreface.size());
  while (bytes.size() >= kHead) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    if (byte(3) == h2::kGoaway) return true;
    const std::size_t size = std::size_t{byte(0)} << 16 | std::size_t{byte(1)} << 8 | byte(2);
    bytes.remove_prefix(std::min(bytes.size(), kHead + size));
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vigil::fuzz::FuzzInput input(data, size);
  const std::uint64_t seed = input.number(1);
  std::string bytes(input.rest());
  if (seed % 2 == 0) bytes = h2::kPreface + h2::settings() + bytes;

  // Answers are read at once.
  Http2Echo talking(limits());
  h2::Reader reader;
  Cuts cuts(seed);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t piece = cuts.next(64);
    reader.feed(talking.exchange(std::string_view(bytes).substr(at, piece)));
    check_bounds(talking.session());
    at += piece;
  }
  fuzz_require(reader.sound(), "what is sent is frames, with header blocks that decode");

  if (has_goaway(bytes)) return 0;
  // Answers are not read before the end: then the cuts make no difference at all.
  Http2Echo whole(limits());
  whole.session().receive(bytes, {});
  Http2Echo cut(limits());
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t piece = cuts.next(64);
    cut.session().receive(std::string_view(bytes).substr(at, piece), {});
    at += piece;
  }
  check_bounds(whole.session());
  const bool unread = whole.session().guard().abuse() == Http2Abuse::kUnread ||
                      cut.session().guard().abuse() == Http2Abuse::kUnread;
  if (unread) return 0;  // looked at between pieces
  fuzz_require(whole.served() == cut.served(), "whole and cut serve the same");
  fuzz_require(whole.send() == cut.send(), "whole and cut answer the same");
  return 0;
}
