// Router: finds the handler of a request by method and path, with the patterns of Go 1.22's
// ServeMux.
//
//   Router router(registry);
//   Result<void> added = router.handle("GET /orders/{id}", get_order);
//   auto server = Server::create(options, router, registry, …);
//
// A pattern is "[METHOD ]/path". Its segments are
//   literal      matches itself, decoded: "/a%20b" and a pattern "/a b" are equal
//   {name}       one segment, not empty; request.path_value("name") gives it
//   {name...}    the rest of the path, last only, may be empty
//   {$}          the end, after a slash, last only: "/{$}" matches "/" and nothing below it
// A pattern that ends in "/" matches the whole subtree, as "/{...}" would. No method means every
// method; GET also serves HEAD. Of several patterns that match, the most specific wins: a literal
// before a wildcard before a subtree, and a method before none. Two patterns of which neither is
// more specific conflict, and the second is refused.
//
// Answers by itself: 404; 405 with Allow when only the method does not fit; a redirect to the
// cleaned path for "//",
// "/./" and "/../", and to "/tree/" for "/tree" where only the subtree has a pattern.
//
// Each activation of a handler is a leakwatch::Task with the pattern as its label ("GET
// /orders/{id}"). What the router answers by itself, and middleware around the router, is outside
// of any task.
//
// A Router is a handle: copies share their routes, so it converts to a Handler. Routes are added
// before the first request is served; from then on it is read-only and thread-safe. A look-up costs
// a hash look-up a segment, with backtracking only where a literal and a wildcard both match; it
// does not grow with the number of routes and does not allocate.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "leakwatch/task_registry.h"
#include "server-core/handler.h"

namespace vigil::http {

// What one route has answered.
struct RouteStats {
  std::string pattern;
  HandlerStats handler;
};

class Router {
 public:
  // `registry` gets a task for each activation and must outlive the router.
  explicit Router(leakwatch::TaskRegistry& registry);

  // Adds a route. invalid_argument with a sentence for a malformed pattern, more than
  // Request::kPathValuesMax wildcards, or a conflict (names both patterns).
  Result<void> handle(std::string_view pattern, Handler handler);

  void operator()(ResponseWriter& response, Request& request) const;

  // The patterns in the order of their registration, for an index page.
  std::vector<std::string> patterns() const;

  // What every route has answered so far, in the same order.
  std::vector<RouteStats> stats() const;

 private:
  struct Tree;
  std::shared_ptr<Tree> tree_;
};

}  // namespace vigil::http
