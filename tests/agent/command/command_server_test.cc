// vigil against a debug listener of this process: a Unix socket, and a token.

#include <fstream>

#include "agent/agent.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_folder.h"

namespace vigil::test {
namespace {

const std::string kVigil = VIGIL_COMMAND_PROGRAM;

class Served {
 public:
  explicit Served(AgentOptions options) : tasks_(clock_) {
    agent_ = Agent::start(std::move(options), tasks_, sink_, clock_);
    REQUIRE(agent_);
  }
  std::string address() const { return format_host_port((*agent_)->debug_endpoint()); }

 private:
  SystemClock clock_;
  RecordingSink sink_;
  leakwatch::TaskRegistry tasks_;
  Result<std::unique_ptr<Agent>> agent_ = Error(ErrorCode::kClosed, "");
};

TEST_CASE("a Unix socket is read as a port is") {
  const TemporaryFolder folder;
  const std::string path = folder / "debug.sock";
  const Served served({.debug_listen = {"", 0}, .debug_unix = path});
  const Finished dump = run({kVigil, "dump", "unix:" + path});
  INFO(dump.err);
  CHECK(dump.exit_status == 0);
  CHECK(dump.out.find("\nmain(") != std::string::npos);
  CHECK(run({kVigil, "top", "unix:" + path}).exit_status == 0);

  const Finished none = run({kVigil, "dump", "unix:" + path + ".none"});
  CHECK(none.exit_status == 1);
  CHECK(none.err ==
        "vigil dump: GET unix:" + path +
            ".none /debug/pprof/goroutine?debug=2: connect: No such file or directory\n");
}

TEST_CASE("a token comes from a file, and without it the listener refuses") {
  const TemporaryFolder folder;
  const std::string file = folder / "token";
  std::ofstream(file) << "  0123456789abcdef \nmore\n";
  const Served served({.debug_listen = {"127.0.0.1", 0}, .debug_token = "0123456789abcdef"});
  CHECK(run({kVigil, "dump", "--token-file=" + file, served.address()}).exit_status == 0);
  CHECK(run({kVigil, "dump", served.address(), "--token-file", file}).exit_status == 0);
  const Finished refused = run({kVigil, "dump", served.address()});
  CHECK(refused.exit_status == 1);
  CHECK(refused.err.find("status 401") != std::string::npos);
  const Finished missing = run({kVigil, "dump", "--token-file=/nowhere", served.address()});
  CHECK(missing.exit_status == 2);
  CHECK(missing.err.find("/nowhere: cannot be read") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
