#include "server-core/chunked_decoder.h"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/catch.h"

using namespace std::string_literals;
using namespace vigil::http;
using Status = ChunkedDecoder::Status;

namespace {

struct Decoded {
  Status status = Status::kMore;
  std::string data;
  std::size_t consumed = 0;
  std::string trailers;
};

// Decodes `input` in pieces of `in_step` bytes through an output of `out_step` bytes.
Decoded decode(const std::string& input, std::size_t in_step, std::size_t out_step,
               std::uint64_t body_max = 0) {
  ChunkedDecoder decoder({body_max, 256, 4});
  Decoded decoded;
  std::vector<char> out(out_step);
  std::size_t end = 0;
  while (true) {
    const auto step =
        decoder.decode(std::string_view(input).substr(decoded.consumed, end - decoded.consumed),
                       out.data(), out.size());
    decoded.data.append(out.data(), step.produced);
    decoded.consumed += step.consumed;
    decoded.status = step.status;
    if (step.status == Status::kOutputFull) continue;
    if (step.status != Status::kMore || end == input.size()) break;
    end = std::min(input.size(), end + in_step);
  }
  for (std::size_t i = 0; i < decoder.trailers().size(); ++i) {
    decoded.trailers.append(decoder.trailers().at(i).name)
        .append("=")
        .append(decoder.trailers().at(i).value)
        .append(";");
  }
  return decoded;
}

void check(const std::string& input, Status status, const std::string& data = {},
           const std::string& trailers = {}) {
  INFO(Catch::Detail::stringify(input.substr(0, 200)));
  for (std::size_t in_step : {input.size(), std::size_t{1}, std::size_t{3}}) {
    for (std::size_t out_step : {std::size_t{4096}, std::size_t{1}}) {
      const Decoded decoded = decode(input, in_step, out_step);
      CHECK(decoded.status == status);
      if (status == Status::kEnd) CHECK(decoded.data == data);
      if (status == Status::kEnd) CHECK(decoded.trailers == trailers);
    }
  }
}

}  // namespace

TEST_CASE("P1.1: chunks, extensions and trailers, however they are cut") {
  check("0\r\n\r\n", Status::kEnd);
  check("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Status::kEnd, "hello world");
  check("A\r\n0123456789\r\n00\r\n\r\n", Status::kEnd, "0123456789");
  check("1;a=\"b c\"\r\nx\r\n0;last\r\n\r\n", Status::kEnd, "x");
  check("1; a=b;c;\t d=\"\\\";\"\r\nx\r\n0\r\n\r\n", Status::kEnd, "x");
  check("1\r\nx\r\n0\r\nA: 1 \r\nB:\r\n\r\n", Status::kEnd, "x", "A=1;B=;");
  check("5\r\nhel", Status::kMore);
  CHECK(decode("1\r\nx\r\n0\r\n\r\nGET /", 100, 100).consumed == 11);
}

TEST_CASE("P1.12: malformed chunks") {
  for (const std::string& input : {"\r\n"s,
                                   "x\r\n"s,
                                   "-1\r\n"s,
                                   "+1\r\n"s,
                                   "0x1\r\n"s,
                                   " 1\r\n"s,
                                   "1 \r\nx\r\n"s,
                                   "1_0\r\n"s,
                                   ";a\r\n"s,
                                   "1\nx\r\n"s,
                                   "1\rx"s,
                                   "1\r\nxy\r\n"s,
                                   "1\r\nx\n"s,
                                   "1\r\nx\rz"s,
                                   "10000000000000000\r\n"s,
                                   "00000000000000001\r\n"s,
                                   "FFFFFFFFFFFFFFFF\r\n"s,
                                   "1;a\nb\r\n"s,
                                   "1;\x01\r\n"s,
                                   "1;\r\n"s,
                                   "1; \r\n"s,
                                   "1;;a\r\n"s,
                                   "1;a;\r\n"s,
                                   "1;=b\r\n"s,
                                   "1;a=\r\n"s,
                                   "1;a b\r\n"s,
                                   "1;a[\r\n"s,
                                   "1;a=b=c\r\n"s,
                                   "1;a=b\"\r\n"s,
                                   "1;a=\"b\r\n"s,
                                   "1;a=\"b\\\r\n"s,
                                   "1;a=\"b\"c\r\n"s,
                                   "0\r\n\n"s,
                                   "0\r\n\rx"s}) {
    check(input, Status::kMalformed);
  }
}

TEST_CASE("P1.13: chunk extensions are limited, one by one and together") {
  const auto with_extension = [](std::size_t size) {
    return "1;" + std::string(size, 'e') + "\r\nx\r\n0\r\n\r\n";
  };
  check(with_extension(ChunkedDecoder::kExtensionBytesMax), Status::kEnd, "x");
  check(with_extension(ChunkedDecoder::kExtensionBytesMax + 1), Status::kMalformed);
  check(with_extension(200'000), Status::kMalformed);
  std::string many;
  for (int i = 0; i < 20; ++i) many += "1;" + std::string(1000, 'e') + "\r\nx\r\n";
  check(many + "0\r\n\r\n", Status::kMalformed);
  // One-byte chunks without extensions are wasteful, not malformed.
  std::string plain;
  for (int i = 0; i < 20'000; ++i) plain += "1\r\nx\r\n";
  CHECK(decode(plain + "0\r\n\r\n", 4096, 4096).status == Status::kEnd);
}

TEST_CASE("P1.14: trailers that are malformed, forbidden or too many") {
  for (const std::string& trailer :
       {"A : 1"s, " A: 1"s, "A"s, ": 1"s, "A: \x01"s, "Content-Length: 5"s,
        "transfer-encoding: chunked"s, "Host: y"s}) {
    check("0\r\n" + trailer + "\r\n\r\n", Status::kMalformed);
  }
  check("0\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n", Status::kEnd, "", "A=1;A=1;A=1;A=1;");
  check("0\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n", Status::kMalformed);
  check("0\r\nA: " + std::string(300, 'x') + "\r\n\r\n", Status::kMalformed);
}

TEST_CASE("the body's limit, one before, at and after") {
  const std::string input = "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
  CHECK(decode(input, 100, 100, 11).status == Status::kEnd);
  CHECK(decode(input, 100, 100, 10).status == Status::kEnd);
  CHECK(decode(input, 100, 100, 9).status == Status::kTooLong);
  CHECK(decode(input, 1, 1, 9).status == Status::kTooLong);
  CHECK(decode("FFFFFFFFFFFFFFF\r\n", 100, 100, 10).status == Status::kTooLong);
}
