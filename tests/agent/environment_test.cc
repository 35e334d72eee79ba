#include "agent/environment.h"

#include <fstream>
#include <map>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace vigil;  // NOLINT: a test

namespace {

using Variables = std::map<std::string, std::string>;

Result<std::optional<ResidentOptions>> read(const Variables& variables,
                                            std::string_view program = "server", int self = 100) {
  return agent_environment(
      [&variables](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      program, self);
}

ResidentOptions options(Variables variables) {
  variables.try_emplace("VIGIL_LISTEN", "127.0.0.1:6060");
  auto result = read(variables);
  REQUIRE(result);
  REQUIRE(result->has_value());
  return **std::move(result);
}

std::string mistake(const std::string& name, const std::string& value) {
  Variables variables{{"VIGIL_LISTEN", "6060"}};
  variables[name] = value;
  const auto result = read(variables);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kInvalidArgument);
  return result.error().message();
}

bool is_asked_for(const Variables& variables, std::string_view program = "server", int self = 100) {
  const auto result = read(variables, program, self);
  REQUIRE(result);
  return result->has_value();
}

}  // namespace

TEST_CASE("without VIGIL_LISTEN there is no agent, whatever the other variables say") {
  CHECK_FALSE(is_asked_for({}));
  CHECK_FALSE(is_asked_for({{"VIGIL_LISTEN", ""}}));
  CHECK_FALSE(is_asked_for({{"VIGIL_FOLLOW_FORK", "1"}, {"VIGIL_PORT_TAKEN", "nonsense"}}));
  CHECK(is_asked_for({{"VIGIL_LISTEN", "6060"}}));
}

TEST_CASE("every variable of the agent") {
  const ResidentOptions defaults = options({});
  CHECK(defaults.agent.debug_listen.host == "127.0.0.1");
  CHECK(defaults.agent.debug_listen.port == 6060);
  CHECK(defaults.agent.debug_port_taken == AgentOptions::PortTaken::kNextFree);
  CHECK(agent_options_of(defaults, 7).debug_unix.empty());
  CHECK(defaults.follow_fork == FollowFork::kNo);
  CHECK(defaults.log == "stderr");
  CHECK(defaults.program == "server");

  CHECK(defaults.token_file.empty());
  CHECK(defaults.agent.debug_reach == AgentOptions::DebugReach::kThisMachine);
  CHECK_FALSE(defaults.agent.high_watermarks.any());
  CHECK(defaults.agent.keep_profiles.every == Duration(0));

  const ResidentOptions set = options({{"VIGIL_LISTEN", "[::1]:0"},
                                       {"VIGIL_PORT_TAKEN", "any"},
                                       {"VIGIL_TOKEN_FILE", "/run/token"},
                                       {"VIGIL_EXPOSE", "1"},
                                       {"VIGIL_WATERMARK_TASKS", "1000"},
                                       {"VIGIL_WATERMARK_THREADS", "200"},
                                       {"VIGIL_WATERMARK_DESCRIPTORS", "30"},
                                       {"VIGIL_KEEP_PROFILES", "1m"},
                                       {"VIGIL_KEEP_PROFILES_LENGTH", "5s"},
                                       {"VIGIL_KEEP_WHEN_STUCK", "2"},
                                       {"VIGIL_KEEP_WHEN_GROWTH", "3000000"},
                                       {"VIGIL_FOLLOW_FORK", "1"},
                                       {"VIGIL_STUCK_AFTER", "250ms"},
                                       {"VIGIL_HEAP_SAMPLE", "0"},
                                       {"VIGIL_CONTENTION_RATE", "10us"},
                                       {"VIGIL_ALLOW_CHANGES", "1"},
                                       {"VIGIL_LOG", "/tmp/log"}});
  CHECK(set.agent.debug_listen.host == "::1");
  CHECK(set.agent.debug_listen.port == 0);
  CHECK(set.agent.debug_port_taken == AgentOptions::PortTaken::kAnyFree);
  CHECK(set.follow_fork == FollowFork::kYes);
  CHECK(set.agent.stuck_after == std::chrono::milliseconds(250));
  CHECK(set.agent.heap_sample_bytes == 0);
  CHECK(set.agent.contention_rate == std::chrono::microseconds(10));
  CHECK(set.agent.changes == AgentOptions::Changes::kAllowed);
  CHECK(set.log == "/tmp/log");
  CHECK(set.token_file == "/run/token");
  CHECK(set.agent.debug_token.empty());
  CHECK(set.agent.debug_reach == AgentOptions::DebugReach::kOtherMachines);
  CHECK(set.agent.high_watermarks.tasks == 1000);
  CHECK(set.agent.high_watermarks.threads == 200);
  CHECK(set.agent.high_watermarks.descriptors == 30);
  CHECK(set.agent.keep_profiles.every == std::chrono::minutes(1));
  CHECK(set.agent.keep_profiles.length == std::chrono::seconds(5));
  CHECK(set.agent.keep_profiles.when_stuck_reports == 2);
  CHECK(set.agent.keep_profiles.when_resident_bytes_per_minute == 3'000'000);
  CHECK(options({{"VIGIL_LISTEN", "65535"}}).agent.debug_listen.port == 65535);
  CHECK(options({{"VIGIL_PORT_TAKEN", "fail"}}).agent.debug_port_taken ==
        AgentOptions::PortTaken::kFail);

  const ResidentOptions both = options({{"VIGIL_LISTEN", "6061,unix:/run/%p/v-%p"}});
  CHECK(both.agent.debug_listen.port == 6061);
  CHECK(agent_options_of(both, 42).debug_unix == "/run/42/v-42");
  const ResidentOptions alone = options({{"VIGIL_LISTEN", "unix:/run/v"}});
  CHECK(alone.agent.debug_listen.host.empty());
  CHECK(agent_options_of(alone, 42).debug_unix == "/run/v");
}

TEST_CASE("a mistake names its variable and what was expected") {
  CHECK(mistake("VIGIL_LISTEN", "unix:run/v") ==
        "VIGIL_LISTEN=unix:run/v: not an absolute path behind unix:");
  CHECK(mistake("VIGIL_LISTEN", "65536").starts_with("VIGIL_LISTEN=65536: "));
  CHECK(mistake("VIGIL_PORT_TAKEN", "NEXT") == "VIGIL_PORT_TAKEN=NEXT: not next, any or fail");
  CHECK(mistake("VIGIL_FOLLOW_FORK", "yes") == "VIGIL_FOLLOW_FORK=yes: not 0 or 1");
  CHECK(mistake("VIGIL_STUCK_AFTER", "5").starts_with("VIGIL_STUCK_AFTER=5: not a duration"));
  CHECK(mistake("VIGIL_HEAP_SAMPLE", "-1").starts_with("VIGIL_HEAP_SAMPLE=-1: "));
  CHECK(mistake("VIGIL_HEAP_SAMPLE", "1073741825").starts_with("VIGIL_HEAP_SAMPLE="));
  CHECK(mistake("VIGIL_LOG", "log").starts_with("VIGIL_LOG=log: not stderr, off"));
  CHECK(mistake("VIGIL_EXPOSE", "2") == "VIGIL_EXPOSE=2: not 0 or 1");
  CHECK(mistake("VIGIL_TOKEN_FILE", "t") == "VIGIL_TOKEN_FILE=t: not the absolute path of a file");
  CHECK(mistake("VIGIL_WATERMARK_THREADS", "-1").starts_with("VIGIL_WATERMARK_THREADS=-1: "));
  CHECK(mistake("VIGIL_KEEP_WHEN_STUCK", "x").starts_with("VIGIL_KEEP_WHEN_STUCK=x: "));
}

TEST_CASE("the token is read once, without the spaces around it") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "token";
  ResidentOptions wanted = options({{"VIGIL_TOKEN_FILE", path}});
  auto loaded = load_token(wanted);
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().message() == path + ": cannot be read");
  std::ofstream(path) << "\n0123456789abcdef\n";
  CHECK(load_token(wanted).error().message() == path + ": no token in its first line");
  std::ofstream(path) << std::string(5000, 'x');
  CHECK(load_token(wanted).error().message() == path + ": its first line is too long for a token");
  std::ofstream(path) << " \t0123456789abcdef \r\nmore\n";
  REQUIRE(load_token(wanted));
  CHECK(wanted.agent.debug_token == "0123456789abcdef");
  // As a child of fork(2) that may not read the file any more.
  std::ofstream(path) << "";
  CHECK(load_token(wanted));
  CHECK(wanted.agent.debug_token == "0123456789abcdef");
  // A line without an end.
  std::ofstream(path) << std::string(1024, 'y');
  wanted.agent.debug_token.clear();
  REQUIRE(load_token(wanted));
  CHECK(wanted.agent.debug_token == std::string(1024, 'y'));
  ResidentOptions none = options({});
  CHECK(load_token(none));
}

TEST_CASE("every variable that is listed is read") {
  for (const AgentVariable& variable : agent_variables()) {
    const std::string name(variable.name);
    INFO(name);
    CHECK(is_agent_variable(name));
    CHECK(name.starts_with("VIGIL_"));
    CHECK_FALSE(variable.hint.empty());
    CHECK_FALSE(variable.help.empty());
    // One that takes any text says nothing here.
    if (name == "VIGIL_PROGRAM") continue;
    Variables variables{{"VIGIL_LISTEN", "0"}};
    variables.insert_or_assign(name, std::string(1, '?'));
    const auto refused = read(variables);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().starts_with(name + "=?: "));
  }
  CHECK_FALSE(is_agent_variable(kOwnerVariable));
}

TEST_CASE("VIGIL_PROGRAM names the programs that get an agent") {
  const auto named = [](const char* list, std::string_view program) {
    return is_asked_for({{"VIGIL_LISTEN", "0"}, {"VIGIL_PROGRAM", list}}, program);
  };
  CHECK(named("nginx", "nginx"));
  CHECK(named("redis-server,nginx", "nginx"));
  CHECK(named("nginx,redis-server", "nginx"));
  CHECK(named("", "nginx"));
  CHECK_FALSE(named("nginx", "sh"));
  CHECK_FALSE(named("nginx", "nginx-debug"));
  CHECK_FALSE(named("nginx-debug,nginx2", "nginx"));
  CHECK_FALSE(named(",", "nginx"));
}

TEST_CASE("VIGIL_OWNER keeps the agent out of what an armed process has started") {
  const auto owned = [](const char* owner, const char* follow) {
    return is_asked_for(
        {{"VIGIL_LISTEN", "0"}, {"VIGIL_OWNER", owner}, {"VIGIL_FOLLOW_FORK", follow}}, "server",
        100);
  };
  CHECK_FALSE(owned("99", "0"));
  CHECK(owned("99", "1"));
  CHECK(owned("100", "0"));
  CHECK(owned("0000000100", "0"));
  CHECK_FALSE(owned("0000000101", "0"));
  CHECK(owned("", "0"));
  CHECK(owned("nobody", "0"));
}
