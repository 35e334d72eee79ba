// The one place that names Catch2's header, so that version 3 is a change of this file.
// Assertions belong on the main thread of a test: workers record, the test asserts after it has
// joined them.
#pragma once

#include <catch2/catch.hpp>
