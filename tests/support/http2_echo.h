// Http2Echo: a server of a few fixed answers around a Http2Session, without sockets: what the tests
// and the fuzz target of the session talk to.
//
//   GET /hello   200 "hello\n"           /echo   200 and the body, its trailers as trailers
//   GET /hold    no answer               others  404; a refused request its status
#pragma once

#include <string>
#include <vector>

#include "server-core/http2_session.h"

namespace vigil::test {

class Http2Echo final : public http::Http2Events {
 public:
  explicit Http2Echo(const http::Http2Session::Limits& limits, MonotonicTime now = {})
      : session_(limits, *this, now) {}

  // Takes `bytes` and gives what is sent for it.
  std::string exchange(std::string_view bytes, MonotonicTime now = {}) {
    session_.receive(bytes, now);
    return send();
  }
  std::string send() {
    std::string out;
    session_.produce(out, std::size_t{1} << 30);
    return out;
  }

  http::Http2Session& session() { return session_; }
  int served() const { return served_; }
  // The first stream that is held.
  http::Http2Stream* held() const { return held_; }

  void on_request(http::Http2Stream& stream) override {
    ++served_;
    if (stream.head.target == "/hold") {
      held_ = &stream;
    } else if (stream.head.target == "/echo") {
      if (stream.request_ended) on_body(stream);
    } else {
      const bool hello = stream.head.target == "/hello";
      answer(stream, hello ? 200 : 404, hello ? "hello\n" : "");
    }
  }
  void on_refused(http::Http2Stream& stream, const http::Refusal& refusal) override {
    answer(stream, refusal.status, {});
  }
  void on_body(http::Http2Stream& stream) override {
    if (stream.head.target != "/echo" || stream.response_begun) return;
    echoed_.append(stream.body, stream.body_read);
    const std::size_t read = stream.unread_bytes();
    stream.body_read = stream.body.size();
    session_.consume(stream, read);
    if (!stream.request_ended) return;
    for (std::size_t i = 0; i < stream.trailers.size(); ++i) {
      stream.out_trailers.add(stream.trailers.at(i).name, stream.trailers.at(i).value);
    }
    answer(stream, 200, std::exchange(echoed_, {}));
  }
  void on_taken(http::Http2Stream&) override {}
  void on_closed(http::Http2Stream& stream) override {
    if (held_ == &stream) held_ = nullptr;
    if (stream.head.target == "/echo") echoed_.clear();
    session_.release(stream);
  }

 private:
  void answer(http::Http2Stream& stream, int status, std::string body) {
    using Body = http::Http2Session::Body;
    const bool bodyless = body.empty() && stream.out_trailers.empty();
    session_.respond(stream, status, {}, bodyless ? Body::kNone : Body::kFollows);
    stream.out = std::move(body);
    session_.out_ended(stream);
  }

  http::Http2Session session_;
  http::Http2Stream* held_ = nullptr;
  std::string echoed_;  // of the one stream that is echoed at a time
  int served_ = 0;
};

}  // namespace vigil::test
