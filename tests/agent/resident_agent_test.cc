#include "agent/resident_agent.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "agent/own_descriptors.h"
#include "tests/support/catch.h"
#include "tests/support/http_client.h"

using namespace vigil;        // NOLINT: a test
using namespace vigil::test;  // NOLINT: a test

namespace {

std::size_t descriptors() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

ResidentOptions quiet_options() {
  ResidentOptions options;
  options.agent.debug_listen = {"127.0.0.1", 0};
  options.log = "off";
  options.program = "test";
  return options;
}

}  // namespace

TEST_CASE("a resident agent serves, has no descriptor in the program's table, and stops") {
  const std::size_t before = descriptors();
  auto agent = ResidentAgent::start(quiet_options());
  REQUIRE(agent);
  CHECK(descriptors() == before);
  const HostPort debug = parse_host_port((*agent)->address()).value();
  CHECK(http_get(debug, "/debug/pprof/goroutine?debug=2").status == 200);
  CHECK((*agent)->tasks().counters().live == 0);

  auto second = ResidentAgent::start(quiet_options());
  REQUIRE_FALSE(second);
  CHECK(second.error().code() == ErrorCode::kBusy);

  agent->reset();
  CHECK(http_get(debug, "/debug/pprof/").status == 0);
  CHECK(descriptors() == before);
  CHECK(ResidentAgent::start(quiet_options()));
}

TEST_CASE("the copy of a resident agent in a child of fork is destroyed without harm") {
  auto agent = ResidentAgent::start(quiet_options());
  REQUIRE(agent);
  const pid_t child = ::fork();
  if (child == 0) {
    agent->reset();
    ::_exit(17);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 17);
  CHECK(http_get(parse_host_port((*agent)->address()).value(), "/debug/pprof/").status == 200);
}

TEST_CASE("a program's one line: an agent when the environment asks for it") {
  ::unsetenv("VIGIL_LISTEN");
  CHECK(start_agent_from_environment() == nullptr);
  ::setenv("VIGIL_LISTEN", "127.0.0.1:0", 1);
  ::setenv("VIGIL_LOG", "off", 1);
  {
    const auto agent = start_agent_from_environment();
    REQUIRE(agent != nullptr);
    CHECK(http_get(parse_host_port(agent->address()).value(), "/debug/pprof/").status == 200);
  }
  ::setenv("VIGIL_LISTEN", "0.0.0.0:0", 1);
  CHECK(start_agent_from_environment() == nullptr);
  ::unsetenv("VIGIL_LISTEN");
  ::unsetenv("VIGIL_LOG");
}

TEST_CASE("what is said of a start") {
  ResidentOptions options;
  options.program = "nginx";
  const std::string who = "nginx[" + std::to_string(::getpid()) + "]: ";
  CHECK(start_line(options, std::string("127.0.0.1:6060")) ==
        who + "debug pages at http://127.0.0.1:6060/debug/pprof/");
  CHECK(start_line(options, Error(ErrorCode::kBusy, "taken")) ==
        who + "runs without the agent: taken");
}

TEST_CASE("a descriptor of the program's is had and given back") {
  const std::size_t before = descriptors();
  {
    const UniqueFd error_output = program_descriptor(STDERR_FILENO);
    CHECK(error_output);
    CHECK(descriptors() == before + 1);
  }
  CHECK(descriptors() == before);
  CHECK_FALSE(program_descriptor(9999));
}
