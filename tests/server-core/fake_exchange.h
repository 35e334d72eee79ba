// A request and a response without a socket, for tests of handlers and middleware.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace vigil::test {

// A body of fixed text, and a stop token that the test owns.
class FakeTransport final : public http::RequestTransport {
 public:
  Result<std::size_t> read_body(std::span<char> into) override {
    const std::size_t size = std::min(into.size(), body.size());
    std::copy_n(body.data(), size, into.data());
    body.erase(0, size);
    return size;
  }
  const http::HeaderMap& trailers() const override { return trailers_; }
  HostPort remote_address() const override { return {"127.0.0.1", 4711}; }
  std::stop_token stop_token() override { return stop.get_token(); }
  MonotonicTime write_deadline() const override { return deadline; }
  MonotonicTime read_deadline() const override { return kNoDeadline; }
  http::RouteAdmission enter_route(http::HandlerProfile&, leakwatch::TaskId) override {
    return http::RouteAdmission::kRun;
  }

  std::string body;
  std::stop_source stop;
  MonotonicTime deadline = kNoDeadline;  // for the response's last byte

 private:
  http::HeaderMap trailers_;
};

// Keeps what it is given, as the engine's buffer does.
class FakeResponse final : public http::ResponseWriter {
 public:
  http::HeaderMap& headers() override { return headers_; }
  void status(int code) override {
    if (!sent) code_ = code;
  }
  Result<void> write(std::string_view bytes) override {
    body.append(bytes);
    return {};
  }
  Result<void> flush() override {
    sent = true;
    return {};
  }
  void set_write_deadline(MonotonicTime deadline) override { write_deadline = deadline; }
  void set_read_deadline(MonotonicTime deadline) override { read_deadline = deadline; }
  bool head_sent() const override { return sent; }
  bool reset() override {
    if (sent) return false;
    headers_.clear();
    body.clear();
    code_ = 200;
    return true;
  }
  int status_code() const override { return code_; }
  std::uint64_t body_bytes() const override { return body.size(); }

  std::string header(std::string_view name) const {
    return std::string(headers_.get(name).value_or(""));
  }

  std::string body;
  bool sent = false;
  MonotonicTime read_deadline = kNoDeadline;
  MonotonicTime write_deadline = kNoDeadline;

 private:
  http::HeaderMap headers_;
  int code_ = 200;
};

// One request with its response, ready to be given to a handler.
struct FakeExchange {
  explicit FakeExchange(MonotonicTime start = {}, std::string target_text = "/orders/7?card=4242",
                        std::vector<http::HeaderField> header_fields = {})
      : target(std::move(target_text)), fields(std::move(header_fields)) {
    valid = request.reset({.method = "GET", .target = target, .headers = http::HeaderList(fields)},
                          transport, start);
  }

  FakeTransport transport;
  FakeResponse response;
  std::string target;
  std::vector<http::HeaderField> fields;
  http::Request request;
  bool valid = false;
};

}  // namespace vigil::test
