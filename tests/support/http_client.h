// A plain HTTP client for tests: cpp-httplib, which shares no code with our engine. Kept behind two
// functions so that one file compiles the library.
#pragma once

#include <map>
#include <string>

#include "base/clock.h"
#include "base/text.h"

namespace vigil::test {

struct HttpAnswer {
  int status = 0;  // 0: no answer (refused, cut, timed out)
  std::string body;
  std::multimap<std::string, std::string> headers;

  // The first header of that name (as written), or "".
  std::string header(const std::string& name) const;
};

struct HttpCall {
  std::string method = "GET";
  std::string path = "/";
  std::multimap<std::string, std::string> headers;
  std::string body;
  std::string content_type = "text/plain";
  Duration timeout = std::chrono::seconds(60);
};

// One request on a connection of its own.
HttpAnswer http_call(const HostPort& server, const HttpCall& call);

// GET.
HttpAnswer http_get(const HostPort& server, const std::string& path,
                    Duration timeout = std::chrono::seconds(60));

}  // namespace vigil::test
