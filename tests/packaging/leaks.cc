// Tests of another project, with the leak check of docs/leak-check.md: one is clean, one leaks.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "leakwatch/listeners/googletest.h"

const bool leaks_fail_tests = vigil::leakwatch::check_googletest_for_leaks();

int open_something() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(Leaks, closed) { EXPECT_EQ(::close(open_something()), 0); }
TEST(Leaks, left) { EXPECT_GE(open_something(), 0); }
