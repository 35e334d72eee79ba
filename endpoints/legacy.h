// /pprof/*: the dialect of gperftools, which google-pprof (perl), jeprof and brpc's tools speak.
//
// Symbols and the command line are the pages of /debug/pprof (process.h): the formats are the same.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"
#include "endpoints/snapshots.h"

namespace vigil::endpoints {

// CPU profile over `seconds` (30), as the binary format of gperftools' CPU profiler.
Page legacy_profile_page(const PageRequest& request, const Services& services);

// heap_v2 text, and growthz. gc=1 as on the other heap page.
Page legacy_heap_page(const PageRequest& request, const Services& services);
Page legacy_growth_page(const PageRequest& request, const Services& services);

// Contention, of a snapshot with the columns contentions/count and delay/nanoseconds. In the table of pages.cc:
//
//   {.path = "/pprof/contention", .render = legacy_contention_page<take_mutex>},
Page legacy_contention_page_of(const PageRequest& request, const Services& services,
                               TakeSnapshot take);

template <TakeSnapshot take>
Page legacy_contention_page(const PageRequest& request, const Services& services) {
  return legacy_contention_page_of(request, services, take);
}

}  // namespace vigil::endpoints
