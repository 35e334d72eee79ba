// Http2Client: HTTP/2 over a socket, frame by frame: sends what the test writes with
// http2_frames.h, and answers SETTINGS and PING by itself. Every wait has a limit.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "tests/support/http2_frames.h"
#include "tests/support/raw_client.h"

namespace vigil::test {

class Http2Client {
 public:
  // Sends the preface and `settings`.
  explicit Http2Client(RawClient connection, const std::string& settings = h2::settings())
      : raw(std::move(connection)) {
    raw.send(h2::kPreface + settings);
  }

  bool send(const std::string& frames) { return raw.send(frames); }

  // Reads until `condition` holds; false at the connection's end or after `limit`.
  bool until(const std::function<bool()>& condition,
             std::chrono::milliseconds limit = RawClient::kLimit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !raw.receive(left)) return condition();
      take();
    }
    return true;
  }
  // Whether the response on `stream` comes whole, or the stream is reset.
  bool answered(std::uint32_t stream) {
    return until([&] {
      const h2::Response& response = reader.response(stream);
      return response.ended || !response.reset.empty();
    });
  }
  // "<status> <body>" of a request; "reset <error>" if that is what it gets.
  std::string exchange(std::uint32_t stream, const std::string& frames) {
    send(frames);
    if (!answered(stream)) return "no answer";
    const h2::Response& response = reader.response(stream);
    if (!response.reset.empty() && !response.ended) return "reset " + response.reset;
    return std::to_string(response.status) + " " + response.body;
  }
  std::string get(std::uint32_t stream, const std::string& path, const h2::Fields& more = {}) {
    return exchange(stream, h2::get(stream, path, more));
  }
  // Whether the server ends the connection.
  bool closes(std::chrono::milliseconds limit = RawClient::kLimit) {
    (void)until([&] { return raw.ended(); }, limit);
    return raw.ended();
  }
  bool said_goaway(const std::string& error) {
    return until([&] {
      for (const std::string& goaway : reader.goaways()) {
        if (goaway.ends_with(" " + error)) return true;
      }
      return false;
    });
  }

  RawClient raw;
  h2::Reader reader;

 private:
  void take() {
    reader.feed(raw.take_received());
    if (const std::string answers = reader.take_answers(); !answers.empty()) raw.send(answers);
  }
};

}  // namespace vigil::test
