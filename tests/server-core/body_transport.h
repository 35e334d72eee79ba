// A RequestTransport with a fixed body, for tests of Request without a server.
#pragma once

#include <algorithm>
#include <memory>
#include <stop_token>
#include <string>

#include "server-core/request.h"

namespace vigil::test {

class BodyTransport final : public http::RequestTransport {
 public:
  // Gives `body` in pieces of at most `piece` bytes.
  Result<std::size_t> read_body(std::span<char> into) override {
    ++reads;
    const std::size_t size = std::min({into.size(), body.size() - at, piece});
    std::copy_n(body.data() + at, size, into.data());
    at += size;
    return size;
  }
  const http::HeaderMap& trailers() const override { return none_; }
  HostPort remote_address() const override { return {"127.0.0.1", 1}; }
  std::stop_token stop_token() override { return stop.get_token(); }
  MonotonicTime write_deadline() const override { return deadline; }
  MonotonicTime read_deadline() const override { return kNoDeadline; }
  http::Context context() override {
    return http::Context().for_request(deadline, stop.get_token(), timer);
  }
  void refuse_body() override { refused = true; }
  http::RouteAdmission enter_route(http::HandlerProfile&, leakwatch::TaskId) override {
    return http::RouteAdmission::kRun;
  }

  std::string body;
  std::size_t piece = 1 << 20;
  std::size_t at = 0;  // bytes given
  int reads = 0;
  bool refused = false;
  MonotonicTime deadline = kNoDeadline;
  std::stop_source stop;
  std::shared_ptr<http::DeadlineTimer> timer;

 private:
  http::HeaderMap none_;
};

}  // namespace vigil::test
