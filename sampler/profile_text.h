// Profiles as text for people and for old parsers. Pure.
#pragma once

#include <cstddef>
#include <string>

#include "sampler/profile.h"

namespace vigil::sampler {

// Go's `debug=1` text: a header line, then each stack as "<count> @ 0x… 0x…" and its frames on
// lines that begin with '#', the largest count first. Lines match Go's own parser (`^(\d+) @((
// 0x[0-9a-f]+)+)$`; everything else is '#' or blank):
//
//   goroutine profile: total 200
//   200 @ 0x55d0c1 0x55cf00
//   # labels: {"method":"GET", "route":"/stuck"}
//   #	0x55d0c1	demo::wait_forever+0x31	/src/demo/routes.cc:81
//
// The count is the first column. A profile named "heap" or "allocs" has Go's four columns, in the
// header and in the rows; one without alloc_* columns repeats the in-use ones, which Go's parser
// takes as "no such columns":
//
//   heap profile: 2: 4096 [2: 4096] @ heap/1048576
//   1: 2048 [1: 2048] @ 0x55d0c1 0x55cf00
//
// As in Go these are the *sampled* objects, not scaled up, and the number behind "heap/" is twice
// the sampling interval: readers of this text scale by themselves (google/pprof
// profile/legacy_profile.go, parseHeapHeader). The model has scaled values, so the text takes the
// scale out again.
//
// Profiles named "mutex" and "block" have Go's header and "<nanoseconds> <count> @ 0x…" rows, the
// longest delay first:
//
//   --- mutex:
//   cycles/second=1000000000
//   sampling period=1
//   800000000 8 @ 0x55d0c1 0x55cf00
//
// Comments ("vigil: samples_lost=12") are '#' lines at the end. Rows carry the model's look-up
// addresses (return address - 1): an old parser that subtracts 1 again still is inside the same
// call instruction.
std::string render_debug_text(const Profile& profile);

// Folded stacks for flame graphs, one a line, outermost first: "main;demo::work;demo::checksum
// 123". Inlined frames are frames of their own; ';' and line ends in names become ':' and ' '.
// `column`: which of the sample types; a number past the last is taken as the default sample type.
// Comments are '#' lines at the end. Lines are sorted and equal ones added up.
std::string render_folded(const Profile& profile, std::size_t column);

// The column of Profile::default_sample_type; the last one if there is none of that name.
std::size_t default_column(const Profile& profile);

}  // namespace vigil::sampler
