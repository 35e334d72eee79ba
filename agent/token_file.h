// A bearer token from a file, so that it is neither in the environment nor in a command line, which others may read.
//
//   auto token = read_token_file("/run/secrets/vigil");
//   if (!token) … token.error().message() …   // names the file, and nothing of what is in it
#pragma once

#include <string>

#include "base/result.h"

namespace vigil {

// The file's first line, without the spaces around it. Blocks for file I/O.
//   not_found          it cannot be read
//   invalid_argument   its first line has no token, or is longer than any
Result<std::string> read_token_file(const std::string& path);

}  // namespace vigil
