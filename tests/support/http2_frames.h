// HTTP/2 frames by hand: what a test wants to send, byte by byte, and what came back, as text.
//
//   client.send(h2::kPreface + h2::settings() + h2::get(1, "/hello"));
//   h2::Reader reader;
//   reader.feed(bytes);            // reader.text(): "SETTINGS …\nHEADERS 1 200\nDATA 1 6 END\n"
//
// Header blocks are written as literals without indexing, so that a test can put anything into
// them; what comes back is decoded with nghttp2's inflater.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

namespace vigil::test::h2 {

inline const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum Type : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
enum Flag : std::uint8_t {
  kNone = 0,
  kEndStream = 1,
  kAck = 1,
  kEndHeaders = 4,
  kPadded = 8,
  kPriorityFlag = 32
};
inline constexpr std::uint8_t kWhole = kEndStream | kEndHeaders;

using Fields = std::vector<std::pair<std::string, std::string>>;

// `value`, big-endian, in so many bytes.
std::string number(std::uint64_t value, int bytes = 4);
std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload = {});
// A header block: each field a literal, not Huffman-coded.
std::string block(const Fields& fields);
std::string headers(std::uint32_t stream, const Fields& fields, std::uint8_t flags = kWhole);
// The four pseudo-header fields of a request to http://localhost, then `more`.
Fields request_fields(const std::string& method, const std::string& path, const Fields& more = {});
std::string get(std::uint32_t stream, const std::string& path, const Fields& more = {});
// The head of a POST; DATA follows.
std::string post(std::uint32_t stream, const std::string& path, const Fields& more = {});
std::string data(std::uint32_t stream, std::string_view bytes, std::uint8_t flags = kEndStream);
// Each pair an identifier and a value.
std::string settings(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& values = {});
std::string settings_ack();
std::string ping(std::string_view eight_bytes = "12345678", std::uint8_t flags = kNone);
std::string rst(std::uint32_t stream, std::uint32_t error = 8);
std::string window_update(std::uint32_t stream, std::uint32_t increment);
// "PROTOCOL_ERROR" for 1, …
std::string error_name(std::uint32_t error);

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
  // The first four bytes of the payload at `offset`.
  std::uint32_t word(std::size_t offset = 0) const;
};

// What a response has become so far.
struct Response {
  int status = 0;
  std::vector<int> informed;  // 1xx before it
  Fields fields;
  Fields trailers;
  std::string body;
  bool ended = false;
  std::string reset;  // the error's name, if the stream was reset

  std::string header(std::string_view name) const;
};

class Reader {
 public:
  Reader();
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void feed(std::string_view bytes);

  // One line a frame since the last take_text(), without SETTINGS and WINDOW_UPDATE unless asked:
  //   "HEADERS 1 200", "DATA 1 5 END", "RST 1 PROTOCOL_ERROR", "GOAWAY 1 NO_ERROR", "PING", "PONG"
  std::string take_text();
  const std::map<std::uint32_t, Response>& responses() const { return responses_; }
  const Response& response(std::uint32_t stream) { return responses_[stream]; }
  // The settings that the server has announced.
  const std::map<std::uint16_t, std::uint32_t>& settings() const { return settings_; }
  // "<last stream> <error>" of each GOAWAY.
  const std::vector<std::string>& goaways() const { return goaways_; }
  std::uint64_t data_bytes() const { return data_bytes_; }
  // PING frames to answer, and SETTINGS to acknowledge: what must be sent for it.
  std::string take_answers() { return std::exchange(answers_, {}); }
  // False if what came is no sequence of frames, or a header block cannot be decoded.
  bool sound() const { return sound_; }

 private:
  void take(const Frame& frame);
  void take_headers(const Frame& frame);
  void take_settings(const Frame& frame);
  Fields decode(std::string_view block);

  std::string bytes_;
  std::string text_;
  std::string answers_;
  std::string block_;
  std::map<std::uint32_t, Response> responses_;
  std::map<std::uint16_t, std::uint32_t> settings_;
  std::vector<std::string> goaways_;
  std::uint64_t data_bytes_ = 0;
  bool sound_ = true;
  nghttp2_hd_inflater* inflater_ = nullptr;
};

}  // namespace vigil::test::h2
