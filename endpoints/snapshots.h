// Profiles that are snapshots of something kept: heap, allocs, growth, and what others add.
//
// A new one is a function that takes it and two lines of the table in pages.cc:
//
//   Result<sampler::StackProfile> take_mutex(const PageRequest& request, const Services& services);
//   …
//   {.path = "/debug/pprof/mutex", .render = snapshot_page<take_mutex>, …},
//   {.path = "/debug/pprof/delta_mutex", .render = delta_page<take_mutex>, …},
//
// and has all formats, the difference over `seconds`, and a baseline per client with them.
#pragma once

#include "base/result.h"
#include "endpoints/page.h"
#include "endpoints/services.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// Takes one, with what the request asks of it; its errors are the page's.
using TakeSnapshot = Result<sampler::StackProfile> (*)(const PageRequest&, const Services&);

// unsupported where the program has no source for it, with the sentence that says what to do.
// gc=1: free memory is given back to the system first (heap and allocs).
Result<sampler::StackProfile> take_heap(const PageRequest& request, const Services& services);
Result<sampler::StackProfile> take_allocs(const PageRequest& request, const Services& services);
Result<sampler::StackProfile> take_growth(const PageRequest& request, const Services& services);

// The snapshot in the form that is asked for. seconds=N: what came in N seconds (sampler/profile_delta.h), file name
// "<name>-delta"; with debug≠0 it is Go's 400; a client that goes away gets 408.
Page snapshot_page_of(const PageRequest& request, const Services& services, TakeSnapshot take);

// What came since the same client's last request (DeltaBaselines), as godeltaprof's pages answer.
Page delta_page_of(const PageRequest& request, const Services& services, TakeSnapshot take);

template <TakeSnapshot take>
Page snapshot_page(const PageRequest& request, const Services& services) {
  return snapshot_page_of(request, services, take);
}

template <TakeSnapshot take>
Page delta_page(const PageRequest& request, const Services& services) {
  return delta_page_of(request, services, take);
}

}  // namespace vigil::endpoints
