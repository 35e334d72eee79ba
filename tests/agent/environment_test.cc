#include "agent/environment.h"

#include <map>
#include <string>

#include "tests/support/catch.h"

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

  const ResidentOptions set = options({{"VIGIL_LISTEN", "[::1]:0"},
                                       {"VIGIL_PORT_TAKEN", "any"},
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
