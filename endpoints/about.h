// /debug/buildinfo, /debug/maps and /debug/loglevel: what runs, where it is mapped, what it logs.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// GET /debug/buildinfo: vigil's version and compiler, the program, and every mapped file with its
// build id, as symbol servers and `go tool pprof` look for them. format=json.
Page build_info_page(const PageRequest& request, const Services& services);

// GET /debug/maps: /proc/self/maps. Addresses and file names, no contents.
Page maps_page(const PageRequest& request, const Services& services);

// /debug/loglevel: GET shows the least level that is logged. POST level=debug|info|warn|error sets
// it, with for=10m for that long, under the rules of all changes (changes.h). 501 where the program
// has handed over no LevelSink.
Page log_level_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
