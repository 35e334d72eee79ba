// DebugPages: every debug page as a function from strings to strings, for servers that are not ours.
//
//   DebugPages pages(services, token);
//   DebugResponse response = pages.handle({.method = "GET",
//                                          .target = "/debug/pprof/heap?debug=1",
//                                          .headers = fields,            // at least Host
//                                          .body = {},
//                                          .peer = "127.0.0.1"});
//
// The guard (guard.h) is inside: whoever mounts the pages on a listener that other machines reach
// must hand over the peer's address as the kernel gives it, never as a header says.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "endpoints/debug_exchange.h"
#include "endpoints/page.h"
#include "endpoints/pages.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// Thread-safe: several requests at once, each on a thread of the host's. A page that captures holds
// its thread for its seconds.
class DebugPages {
 public:
  // `services` must outlive it. `token`: guard.h; empty: none.
  DebugPages(const Services& services, std::string token)
      : services_(services), token_(std::move(token)) {}

  // Answers every request, those for other paths with 404, and does not throw: without any memory the
  // answer is a bare 500. What a page streams is collected: the bundle has some megabytes.
  DebugResponse handle(const DebugRequest& request) const;

 private:
  Page page_for(const DebugRequest& request) const;

  const Services& services_;
  const std::string token_;
};

// --- What the two ways to serve the pages share.

// Renders one page: with its place at the CaptureGate if it takes its seconds, with the reserves if
// descriptors or memory have run out. A page that still finds no memory is a 500 that says so.
Page answer(const PageEntry& entry, const PageRequest& request, const Services& services);

// Whether the page will take its time over this request.
bool takes_its_seconds(const PageEntry& entry, const PageRequest& request);

// The fields that a response has because of its page: Content-Type, nosniff, no-store, ….
std::vector<std::pair<std::string, std::string>> page_headers(const Page& page);

}  // namespace vigil::endpoints
