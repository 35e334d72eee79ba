#include "tests/support/demo.h"

#include <chrono>
#include <stdexcept>
#include <thread>

namespace vigil::test {
namespace {

std::vector<std::string> command_of(std::string program, std::vector<std::string> flags) {
  std::vector<std::string> command = {std::move(program), "--listen=127.0.0.1:0",
                                      "--debug=127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  return command;
}

// The address in the `index`-th "listening on A:P" line.
HostPort announced(const std::string& out, int index) {
  constexpr std::string_view kPrefix = "listening on ";
  std::size_t at = out.find(kPrefix);
  while (index-- > 0 && at != std::string::npos) at = out.find(kPrefix, at + 1);
  if (at == std::string::npos) return {};
  at += kPrefix.size();
  const auto parsed = parse_host_port(out.substr(at, out.find('\n', at) - at));
  return parsed ? *parsed : HostPort{};  // a Unix socket is no address
}

}  // namespace

const char* const kDemoProgram = VIGIL_DEMO_PROGRAM;

Demo::Demo(std::vector<std::string> flags, std::string program,
           std::map<std::string, std::string> environment)
    : process_(command_of(std::move(program), std::move(flags)), std::move(environment)) {
  if (!process_.wait_for_out("listening on ", 2)) {
    throw std::runtime_error("vigil-demo did not start: " + process_.out() + process_.err());
  }
  address_ = announced(process_.out(), 0);
  debug_ = announced(process_.out(), 1);
}

HttpAnswer Demo::post(const std::string& path, std::string body) const {
  HttpCall call;
  call.method = "POST";
  call.path = path;
  call.body = std::move(body);
  return http_call(address_, call);
}

std::string Demo::debug_url(const std::string& path) const {
  return "http://" + format_host_port(debug_) + path;
}

std::string Demo::debug_get_until(const std::string& path, const std::string& text) const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  std::string body;
  do {
    body = debug_get(path).body;
    if (body.find(text) != std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (std::chrono::steady_clock::now() < deadline);
  return body;
}

Background::Background(const HostPort& server, const std::string& path, std::size_t requests)
    : answers_(requests) {
  for (HttpAnswer& answer : answers_) {
    threads_.emplace_back([&answer, server, path] { answer = http_get(server, path); });
  }
}

Background::~Background() { join(); }

std::vector<HttpAnswer> Background::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  return answers_;
}

}  // namespace vigil::test
