// A connection's bytes as requests: the same requests, bodies and refusal however they are cut
// (P1.1, P9.1); and nothing that was accepted has what the rules forbid.

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "server-core/chunked_decoder.h"
#include "server-core/request_parser.h"
#include "server-core/url.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vigil::http;
using vigil::fuzz::Cuts;
using vigil::fuzz::fuzz_require;

constexpr HeadLimits kLimits{2048, 16};
constexpr std::uint64_t kBodyMax = 4096;

// What serve.cc and Exchange do with a connection's input, without the sockets: heads, then bodies,
// until a refusal. All that a peer could tell apart goes into log().
class Stream {
 public:
  // The connection's next bytes, in a new place each time.
  void feed(std::string_view bytes) {
    input_.append(bytes);
    while (!over_ && step()) {
    }
  }
  const std::string& log() const { return log_; }

 private:
  // One head or what there is of a body; false if more input is needed.
  bool step() {
    if (chunks_) return step_chunked();
    if (body_left_ > 0) return step_length();
    if (input_.empty()) return false;
    const std::string moved = input_;
    switch (parser_.parse(moved, scanner_)) {
      case RequestParser::Status::kIncomplete:
        return false;
      case RequestParser::Status::kRefused:
        log_ += "refused " + std::to_string(parser_.refusal().status) + " ";
        log_ += parser_.refusal().reason;
        fuzz_require(parser_.refusal().status >= 400, "a refusal is an error");
        over_ = true;
        return false;
      case RequestParser::Status::kComplete:
        break;
    }
    accept();
    return true;
  }

  void accept() {
    const Request::Head& head = parser_.head();
    const Framing& framing = parser_.framing();
    log_.append(head.method).append(" ").append(head.target).append(" ");
    log_.append(http_version_name(head.version)).append("\n");
    int hosts = 0, lengths = 0, codings = 0;
    for (const HeaderField& field : head.headers) {
      log_.append(field.name).append("=").append(field.value).append("\n");
      fuzz_require(is_header_name(field.name), "names are tokens");
      fuzz_require(std::none_of(field.value.begin(), field.value.end(),
                                [](char c) {
                                  const auto byte = static_cast<unsigned char>(c);
                                  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
                                }),
                   "no control in a value");
      hosts += equals_ignoring_case(field.name, "host");
      lengths += equals_ignoring_case(field.name, "content-length");
      codings += equals_ignoring_case(field.name, "transfer-encoding");
    }
    const bool http11 = head.version == HttpVersion::kHttp11;
    fuzz_require(hosts == 1 || (hosts == 0 && !http11), "one Host");
    fuzz_require(lengths + codings <= 1, "one framing");
    fuzz_require(framing.chunked == (codings == 1), "a coding is chunked");
    fuzz_require(framing.has_content_length == (lengths == 1), "a length is a length");
    fuzz_require(!framing.chunked || http11, "no chunks in HTTP/1.0");
    log_ += framing.keep_alive ? "keep" : "close";
    log_ += framing.expect_continue ? " expect\n" : "\n";
    body_left_ = framing.content_length;
    if (body_left_ > kBodyMax) {
      log_ += "too long";
      over_ = true;
    }
    if (framing.chunked) chunks_.emplace(ChunkedDecoder::Limits{kBodyMax, 512, 8});
    over_ |= !framing.keep_alive && body_left_ == 0 && !framing.chunked;
    close_after_body_ = !framing.keep_alive;
    input_.erase(0, parser_.head_bytes());
    scanner_ = HeadScanner();
  }

  bool step_length() {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, input_.size()));
    log_.append(input_, 0, size);
    input_.erase(0, size);
    body_left_ -= size;
    over_ |= body_left_ == 0 && close_after_body_;
    return body_left_ == 0;
  }

  bool step_chunked() {
    std::array<char, 100> out;
    const ChunkedDecoder::Step step = chunks_->decode(input_, out.data(), out.size());
    log_.append(out.data(), step.produced);
    input_.erase(0, step.consumed);
    switch (step.status) {
      case ChunkedDecoder::Status::kMore:
        return false;
      case ChunkedDecoder::Status::kOutputFull:
        return true;
      case ChunkedDecoder::Status::kEnd:
        log_ += "|end of chunks\n";
        chunks_.reset();
        over_ |= close_after_body_;
        return true;
      case ChunkedDecoder::Status::kMalformed:
      case ChunkedDecoder::Status::kTooLong:
        log_.append("|").append(chunks_->error());
        over_ = true;
    }
    return false;
  }

  RequestParser parser_{kLimits};
  HeadScanner scanner_;
  std::optional<ChunkedDecoder> chunks_;
  std::string input_;
  std::string log_;
  std::uint64_t body_left_ = 0;
  bool close_after_body_ = false;
  bool over_ = false;
};

std::string read_cut(std::string_view bytes, Cuts cuts, std::size_t piece_max) {
  Stream stream;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, cuts.next(piece_max));
    stream.feed(piece);
    bytes.remove_prefix(piece.size());
  }
  return stream.log();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vigil::fuzz::FuzzInput input(data, size);
  const Cuts cuts(input.number(2));
  const std::string_view bytes = input.rest();
  Stream whole;
  whole.feed(bytes);
  fuzz_require(read_cut(bytes, cuts, 1) == whole.log(), "byte by byte is the same");
  fuzz_require(read_cut(bytes, cuts, 40) == whole.log(), "any cut is the same");
  return 0;
}
