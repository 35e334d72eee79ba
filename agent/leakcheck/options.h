// The command line of vigil-leakcheck.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/text.h"

namespace vigil::leakcheck {

// The exit statuses.
inline constexpr int kClean = 0;
inline constexpr int kLeaks = 1;
inline constexpr int kCouldNotCheck = 2;

struct DriveRequest {
  std::string method;
  std::string path;
};

struct Options {
  // The address as it was given; "auto" with --launch: a free port, which {debug} stands for.
  std::string debug;
  std::string target;
  std::string launch;
  std::vector<DriveRequest> requests;
  int repeat = 20;
  std::vector<std::string> command;  // after "--"
  int warm_up = 1;
  Duration settle = std::chrono::seconds(10);
  Duration start_timeout = std::chrono::seconds(30);
  Duration request_timeout = std::chrono::seconds(30);
  std::int64_t heap_growth_bytes = 4 * 1024 * 1024;
  std::string allow_file;
  std::string junit_file;
  std::string json_file;
  std::string self_test_program;  // empty: this one
};

// What the command line says, or the exit status: 0 after --help and --version, kCouldNotCheck
// after a mistake (one line on stderr that names the culprit).
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace vigil::leakcheck
