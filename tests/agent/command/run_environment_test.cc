#include "agent/command/run_environment.h"

#include "agent/client/debug_server.h"
#include "tests/support/catch.h"

namespace vigil::command {
namespace {

using Variables = std::map<std::string, std::string>;

struct Parsed {
  std::optional<int> status;
  RunOptions options;
};

std::unique_ptr<Parsed> parse(std::vector<std::string> words) {
  auto parsed = std::make_unique<Parsed>();
  words.insert(words.begin(), "vigil run");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  parsed->status = run_flags(parsed->options).parse(static_cast<int>(words.size()), argv.data());
  return parsed;
}

Result<Variables> environment(const RunOptions& options, const Variables& before = {}) {
  return run_environment(options, "/lib/a.so", [&before](const char* name) -> const char* {
    const auto found = before.find(name);
    return found == before.end() ? nullptr : found->second.c_str();
  });
}

TEST_CASE("without options the program listens at the default and has the agent preloaded") {
  const auto parsed = parse({"--", "./server", "--listen=x"});
  REQUIRE_FALSE(parsed->status);
  CHECK(parsed->options.command == std::vector<std::string>{"./server", "--listen=x"});
  const auto changes = environment(parsed->options);
  REQUIRE(changes);
  CHECK(*changes == Variables{{"LD_PRELOAD", "/lib/a.so"}, {"VIGIL_LISTEN", "127.0.0.1:6060"}});
}

TEST_CASE("every option is a variable that the agent knows") {
  const auto parsed = parse(
      {"--listen=0", "--program=nginx", "--port-taken=any", "--token-file=/run/token", "--expose=1",
       "--allow-changes=1", "--follow-fork=1", "--stuck-after=10s", "--watermark-tasks=100",
       "--watermark-threads=200", "--watermark-descriptors=300", "--heap-sample=0",
       "--contention-rate=0", "--keep-profiles=1m", "--keep-profiles-length=5s",
       "--keep-when-stuck=1", "--keep-when-growth=1000000", "--log=off", "nginx"});
  REQUIRE_FALSE(parsed->status);
  const auto changes = environment(parsed->options);
  REQUIRE(changes);
  CHECK(changes->size() == agent_variables().size() + 1);
  CHECK(changes->at("VIGIL_STUCK_AFTER") == "10s");
  for (const auto& [name, value] : *changes) {
    INFO(name);
    CHECK((name == "LD_PRELOAD" || is_agent_variable(name)));
  }
  for (const auto& [name, value] : parsed->options.variables) CHECK(changes->contains(name));
}

TEST_CASE("what the environment has already is kept") {
  const auto parsed = parse({"nginx"});
  const auto changes =
      environment(parsed->options, {{"VIGIL_LISTEN", "127.0.0.1:7"}, {"LD_PRELOAD", "/lib/b.so"}});
  REQUIRE(changes);
  CHECK(*changes == Variables{{"LD_PRELOAD", "/lib/a.so:/lib/b.so"}});
}

TEST_CASE("a value that the agent would refuse is refused before the program starts") {
  for (const char* word : {"--listen=nowhere", "--stuck-after=soon", "--follow-fork=yes", "--log=x",
                           "--port-taken=never"}) {
    INFO(word);
    const auto parsed = parse({word, "nginx"});
    REQUIRE_FALSE(parsed->status);
    const auto changes = environment(parsed->options);
    REQUIRE_FALSE(changes);
    CHECK(changes.error().message().find("VIGIL_") == 0);
  }
  const auto parsed = parse({"nginx"});
  CHECK_FALSE(run_environment(parsed->options, "/a b/agent.so",
                              [](const char*) -> const char* { return nullptr; }));
}

TEST_CASE("a debug listener's address as people write it") {
  using client::debug_server_name;
  using client::parse_debug_server;
  for (const auto& [text, name] : Variables{{"127.0.0.1:6061", "127.0.0.1:6061"},
                                            {"6061", "127.0.0.1:6061"},
                                            {"localhost:6061", "127.0.0.1:6061"},
                                            {"[::1]:6061", "[::1]:6061"},
                                            {"http://127.0.0.1:6061/", "127.0.0.1:6061"},
                                            {"http://127.0.0.1:6061", "127.0.0.1:6061"},
                                            {"unix:/run/x.sock", "unix:/run/x.sock"}}) {
    INFO(text);
    const auto server = parse_debug_server(text);
    REQUIRE(server);
    CHECK(debug_server_name(*server) == name);
  }
  for (const char* text : {"", "0", "65536", "127.0.0.1", "127.0.0.1:0", "unix:", "unix:x.sock",
                           "https://127.0.0.1:6061", "http://127.0.0.1:6061/debug/tasks"}) {
    INFO(text);
    CHECK_FALSE(parse_debug_server(text));
  }
}

}  // namespace
}  // namespace vigil::command
