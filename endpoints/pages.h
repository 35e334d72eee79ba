// The table of all debug pages, and how they are mounted on a vigil::http server.
#pragma once

#include <span>
#include <string_view>

#include "endpoints/page.h"
#include "endpoints/services.h"
#include "leakwatch/task_registry.h"
#include "server-core/handler.h"

namespace vigil::endpoints {

// How a page is reached. GET serves HEAD too.
enum class Methods : std::uint8_t { kGet, kGetAndPost };

// How long a page takes, and what the index links beside it. What takes its seconds needs a place
// at the CaptureGate, and its write deadline is moved by as much.
enum class PageKind : std::uint8_t {
  kPlain,     // answers at once
  kSnapshot,  // a profile that answers at once, or with the difference over `seconds`: text, folded,
              // flame graph
  kCapture,   // a profile that always takes its seconds: the same, over five of them
  kRecording,  // takes its seconds, and has one form only
};

// Whether a page takes `route`, `min_latency` and `labels`. A profile that does not refuses them.
enum class Filters : std::uint8_t { kNone, kByRequest };

struct PageEntry {
  std::string_view path;
  Page (*render)(const PageRequest&, const Services&);
  Methods methods = Methods::kGet;
  PageKind kind = PageKind::kPlain;
  Filters filters = Filters::kNone;
  // A sentence for the index; without one, it is not in the index.
  std::string_view description = "";
};

// Every page, the index first, in the order in which the index shows them.
std::span<const PageEntry> all_pages();

// Go's index: a table of counts and profiles with links, then what each profile is.
Page index_page(const PageRequest& request, const Services& services);

// A path without a page, below "/debug/pprof/" with Go's sentence.
Page unknown_page(std::string_view path);

// What a debug listener runs: the guard (guard.h) with `token` around a router of every page.
// "/debug/pprof/NAME" without a page is Go's 404 "Unknown profile". The first two arguments must
// outlive the handler. `listener_tasks` gets a task for each page that is being served; it is not
// Services::tasks, because a 30 s profile is not a stuck handler of the program.
http::Handler debug_handler(const Services& services, leakwatch::TaskRegistry& listener_tasks,
                            std::string token = {});

}  // namespace vigil::endpoints
