#include "tests/integration/agent/preloaded.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <thread>

namespace vigil::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kLookEvery = std::chrono::milliseconds(10);

std::vector<std::string> target_command(std::vector<std::string> words) {
  words.insert(words.begin(), kTargetProgram);
  return words;
}

std::string text_of(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

const char* const kAgentLibrary = VIGIL_AGENT_LIBRARY;
const char* const kTargetProgram = VIGIL_TARGET_PROGRAM;

Environment unarmed() { return {{"LD_PRELOAD", kAgentLibrary}}; }

Environment armed(Environment more) {
  more.insert({{"LD_PRELOAD", kAgentLibrary}, {"VIGIL_LISTEN", "127.0.0.1:0"}});
  return more;
}

Preloaded::Preloaded(std::vector<std::string> words, Environment more)
    : process_(target_command(std::move(words)), armed(std::move(more))) {
  if (!process_.wait_for_err("/debug/pprof/")) {
    throw std::runtime_error("no agent: " + process_.err() + process_.out());
  }
  debug_ = address_in(process_.err(), process_.pid());
}

std::string Preloaded::get_until(const std::string& path, const std::string& text) const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    std::string body = get(path).body;
    if (body.find(text) != std::string::npos || std::chrono::steady_clock::now() > until) {
      return body;
    }
    std::this_thread::sleep_for(kLookEvery);
  }
}

HostPort address_in(const std::string& said, int pid) {
  const std::string number = pid == 0 ? "\\d+" : std::to_string(pid);
  std::smatch found;
  const std::regex line("\\[" + number + "\\]: debug pages at http://([^/]+)/");
  if (!std::regex_search(said, found, line)) return {};
  return parse_host_port(found[1].str()).value();
}

std::string read_until(const std::string& file, const std::string& text) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    std::string read = text_of(file);
    if (read.find(text) != std::string::npos || std::chrono::steady_clock::now() > until) {
      return read;
    }
    std::this_thread::sleep_for(kLookEvery);
  }
}

}  // namespace vigil::test
