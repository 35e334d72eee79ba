// A TestServer that takes HTTP/2 in clear text, and clients for it.
#pragma once

#include <string>

#include "tests/server-core/test_server.h"
#include "tests/support/http2_client.h"

namespace vigil::test {

inline http::ServerOptions h2_options() {
  http::ServerOptions options = test_options();
  options.http2_cleartext = true;
  return options;
}

// A connection that has sent its preface and `settings`.
inline Http2Client connect(TestServer& server, const std::string& settings = h2::settings()) {
  return Http2Client(server.connect(), settings);
}

}  // namespace vigil::test
