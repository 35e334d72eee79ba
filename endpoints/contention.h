// /debug/pprof/{mutex,block,threadcreate,rates}: who waits for whom, and who made which thread.
#pragma once

#include "base/result.h"
#include "endpoints/page.h"
#include "endpoints/services.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// Waits since the start, for snapshot and delta pages (snapshots.h). unsupported where the program's
// locks are not interposed, or the rate is 0 and always was.
Result<sampler::StackProfile> take_mutex(const PageRequest& request, const Services& services);
Result<sampler::StackProfile> take_mutex_holders(const PageRequest& request,
                                                 const Services& services);
Result<sampler::StackProfile> take_block(const PageRequest& request, const Services& services);

// Live threads by the stack that created them; unsupported likewise.
Result<sampler::StackProfile> take_threadcreate(const PageRequest& request,
                                                const Services& services);

// Waits for mutexes and rwlocks by the waiter's stack; by=holder: the same time by the stack of who
// let go of the lock. 400 for another `by`.
Page mutex_page(const PageRequest& request, const Services& services);

// GET: the sampling rates, "contention_ns=1000000". POST with contention_ns=N, in the query or as
// a form, sets it (0: off), if the process allows changes at all and the request has the header
// X-Vigil-Change: else 403.
Page rates_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
