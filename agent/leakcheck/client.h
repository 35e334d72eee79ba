// What vigil-leakcheck asks a server.
#pragma once

#include "agent/client/http_client.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/text.h"
#include "leakwatch/leakcheck/process_snapshot.h"

namespace vigil::leakcheck {

class Client : public client::HttpClient {
 public:
  Client(const HostPort& server, Duration timeout);

  // GET /debug/leakcheck, read. An error also for an answer that is none of ours.
  Result<leakwatch::ProcessSnapshot> snapshot();
};

// A free loopback port, taken by nobody yet.
Result<HostPort> free_address();

}  // namespace vigil::leakcheck
