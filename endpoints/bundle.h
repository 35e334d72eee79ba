// /debug/bundle: everything at once, for a ticket.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// How long the captures of a bundle take when the request does not say, in seconds.
inline constexpr int kBundleSeconds = 10;

// GET /debug/bundle?seconds=10: a tar.gz, streamed, of every profile, dump and report, the metrics
// and what the build is. The captures (CPU, wall, trace, and the differences of heap, mutex and
// block) run side by side; what answers at once comes first, so that a broken-off download has it. A
// file that could not be made is there as NAME.error, with the reason. It takes one place at the
// CaptureGate. Tasks and stacks are in it, so what the guard says of the pages holds for the file.
Page bundle_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
