// An agent of this process, for tests of its pages: the listener on a port of its own, no heap samples.
//
//   WithAgent process;
//   http_get(process.agent->debug_endpoint(), "/debug/tasks");
#pragma once

#include <memory>

#include "agent/agent.h"
#include "base/clock.h"
#include "leakwatch/task_registry.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil::test {

struct WithAgent {
  WithAgent() {
    AgentOptions options;
    options.debug_listen = {"127.0.0.1", 0};
    options.heap_sample_bytes = 0;
    auto started = Agent::start(options, tasks, sink, clock);
    REQUIRE(started.ok());
    agent = *std::move(started);
  }
  SystemClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry tasks{clock};
  std::unique_ptr<Agent> agent;  // destroyed first: it looks at all of the above
};

}  // namespace vigil::test
