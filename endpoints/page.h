// A debug page: a function from a request to a response, of plain strings, so that it can be
// mounted on any server.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server-core/url.h"

namespace vigil::endpoints {

// What a page needs to know of a request. Borrows everything for the time of the call.
struct PageRequest {
  std::string_view method = "GET";
  std::string_view path;           // decoded
  std::string_view raw_query;      // as sent
  http::QueryParams query;         // the same, parsed
  std::string_view body;           // of a POST
  std::string_view change_header;  // the field X-Vigil-Change; empty without one
  std::string_view client;         // who asks: its address and User-Agent
  std::stop_token stop;            // stopped when the client is gone: a capture ends early then
};

// Takes the next part of a response; an error: nobody wants the rest.
using PageWriter = std::function<Result<void>(std::string_view bytes)>;

// What a page answers.
struct Page {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string attachment;  // file name for Content-Disposition; empty: shown, not saved
  std::string allow;       // of a 405: the methods that there are
  // Writes the rest of the body, behind `body`, for pages whose whole would not fit into memory or
  // takes its time. Called once, on the thread that asked for the page. An error is the writer's.
  std::function<Result<void>(const PageWriter& write)> stream = {};
  bool pprof_error = false;  // an error that `go tool pprof` shall print: adds X-Go-Pprof: 1
};

// A text/plain page, the most common kind.
Page text_page(std::string body);
// A whole HTML document.
Page html_page(std::string document);

// An error page as Go's pprof handlers write it: the message and a line end, text/plain,
// X-Go-Pprof: 1.
Page error_page(int status, std::string_view message);

// The only place where our errors become HTTP statuses: invalid_argument 400, not_found 404, busy
// 429, deadline_exceeded and closed 408, permission_denied 403, unsupported 501, everything else
// 500.
Page error_page(const Error& error);

// An integer parameter as Go's handlers read `debug` and `gc`: absent or malformed is 0.
int lenient_integer(const PageRequest& request, std::string_view name);

// A duration in whole seconds: nullopt when absent. Go's sentence for what is not a positive
// integer; a sentence with the cap above `seconds_max`.
Result<std::optional<int>> seconds_parameter(const PageRequest& request, int seconds_max);

}  // namespace vigil::endpoints
