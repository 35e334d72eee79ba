#include "server-core/presets.h"

#include <chrono>

namespace vigil::http {

using std::chrono::seconds;

ServerOptions json_api() {
  ServerOptions options;
  options.read_header_timeout = seconds(5);
  options.read_timeout = seconds(10);
  options.write_timeout = seconds(15);
  options.idle_timeout = seconds(60);
  options.max_body_bytes = 1024 * 1024;
  return options;
}

ServerOptions upload() {
  ServerOptions options;
  options.read_header_timeout = seconds(10);
  options.read_timeout = std::chrono::minutes(10);
  options.write_timeout = std::chrono::minutes(10);
  options.idle_timeout = seconds(60);
  options.max_body_bytes = std::uint64_t{4} * 1024 * 1024 * 1024;
  options.max_in_flight = 1024;
  return options;
}

ServerOptions streaming() {
  ServerOptions options;
  options.read_header_timeout = seconds(5);
  options.read_timeout = seconds(10);
  options.write_timeout = ServerOptions::kNone;
  options.idle_timeout = seconds(120);
  options.max_body_bytes = 1024 * 1024;
  options.max_in_flight = 10'000;
  options.max_threads = 12'000;
  return options;
}

}  // namespace vigil::http
