#include "agent/token_file.h"

#include <array>
#include <fstream>

namespace vigil {
namespace {

// What check_token() (endpoints/guard.h) takes, spaces around it, and the line's end.
constexpr std::size_t kLineMax = 1200;

}  // namespace

Result<std::string> read_token_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Error(ErrorCode::kNotFound, path + ": cannot be read");
  std::array<char, kLineMax> text{};
  file.getline(text.data(), text.size());
  if (file.gcount() + 1 == static_cast<std::streamsize>(text.size()) && file.fail()) {
    return Error(ErrorCode::kInvalidArgument, path + ": its first line is too long for a token");
  }
  const std::string line(text.data());
  const std::size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string::npos) {
    return Error(ErrorCode::kInvalidArgument, path + ": no token in its first line");
  }
  return line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1);
}

}  // namespace vigil
