// ChunkedDecoder: however a body is cut and however small the output is, the same data, the same
// end, the same trailers; and never more than the limits.

#include <string>
#include <vector>

#include "server-core/chunked_decoder.h"
#include "tests/fuzz/fuzz.h"

namespace {

using vigil::fuzz::Cuts;
using vigil::fuzz::fuzz_require;
using vigil::http::ChunkedDecoder;

constexpr ChunkedDecoder::Limits kLimits{10'000, 512, 8};

struct Outcome {
  std::string data;
  std::string trailers;
  std::string error;
  std::size_t consumed = 0;
  bool ended = false;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Feeds `bytes` in pieces of at most `in_max` with an output of at most `out_max`.
Outcome decode(std::string_view bytes, Cuts cuts, std::size_t in_max, std::size_t out_max) {
  ChunkedDecoder decoder(kLimits);
  Outcome outcome;
  std::vector<char> out(out_max);
  while (outcome.consumed < bytes.size()) {
    const std::string_view piece = bytes.substr(outcome.consumed, cuts.next(in_max));
    const ChunkedDecoder::Step step = decoder.decode(piece, out.data(), cuts.next(out_max));
    fuzz_require(step.consumed <= piece.size(), "no more is consumed than there is");
    outcome.data.append(out.data(), step.produced);
    outcome.consumed += step.consumed;
    if (step.status == ChunkedDecoder::Status::kMore) {
      fuzz_require(step.consumed == piece.size(), "kMore takes everything");
    }
    if (step.status == ChunkedDecoder::Status::kOutputFull) {
      fuzz_require(step.produced > 0, "a full output has something in it");
    }
    if (step.status == ChunkedDecoder::Status::kMore ||
        step.status == ChunkedDecoder::Status::kOutputFull) {
      continue;
    }
    outcome.ended = step.status == ChunkedDecoder::Status::kEnd;
    if (!outcome.ended) outcome.error = decoder.error();
    fuzz_require(outcome.ended || !outcome.error.empty(), "a failure has a reason");
    break;
  }
  for (std::size_t i = 0; i < decoder.trailers().size(); ++i) {
    const auto field = decoder.trailers().at(i);
    outcome.trailers.append(field.name).append(":").append(field.value).append("\n");
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vigil::fuzz::FuzzInput input(data, size);
  const Cuts cuts(input.number(2));
  const std::string_view bytes = input.rest();
  const Outcome whole = decode(bytes, cuts, bytes.size() + 1, 20'000);
  fuzz_require(whole.data.size() <= kLimits.body_bytes_max, "the body's limit holds");
  fuzz_require(whole.trailers.size() <= 2 * kLimits.trailer_bytes_max, "the trailers' limit holds");
  fuzz_require(decode(bytes, cuts, 1, 1) == whole, "byte by byte is the same");
  fuzz_require(decode(bytes, cuts, 7, 5) == whole, "any cut is the same");
  return 0;
}
