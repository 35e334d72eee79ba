#include "leakwatch/stack_source.h"

#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

sampler::TextFrame frame(std::string function, std::string file, std::int32_t line = 7) {
  return {.function = std::move(function), .file = std::move(file), .line = line};
}

LiveStack stack_of(std::vector<sampler::TextFrame> frames) {
  LiveStack stack;
  stack.frames = std::move(frames);
  return stack;
}

TEST_CASE("the place of a stack is the program's code, not what it calls or what called it") {
  const LiveStack stack = stack_of({
      frame("__clock_nanosleep", "./time/../sysdeps/unix/sysv/linux/clock_nanosleep.c"),
      frame("std::this_thread::sleep_for<long>", "/usr/include/c++/12/bits/this_thread_sleep.h"),
      frame("vigil::sampler::contention::call", "/src/vigil/sampler/contention/original.h"),
      frame("demo::update_inventory", "/src/demo/work.cc", 134),
      frame("demo::(anonymous namespace)::lock_route", "/src/demo/routes.cc", 140),
      frame("std::function<void ()>::operator()", "/usr/include/c++/12/bits/std_function.h"),
      frame("main", "/src/demo/main.cc"),
  });
  CHECK(place_of(stack) ==
        "demo::update_inventory (work.cc:134) < "
        "demo::(anonymous namespace)::lock_route (routes.cc:140)");
}

TEST_CASE("a place names three functions at most, and lines only where they are known") {
  const LiveStack stack = stack_of({
      frame("a", "/usr/sbin/server", 0),
      frame("b", "b.cc", 2),
      frame("c", "/src/c.cc", 3),
      frame("d", "/src/d.cc", 4),
  });
  CHECK(place_of(stack) == "a < b (b.cc:2) < c (c.cc:3)");
}

TEST_CASE("a program that is installed among libraries has a place") {
  CHECK(place_of(stack_of({frame("epoll_wait", "/usr/lib/x86_64-linux-gnu/libc.so.6", 0),
                           frame("WaitEventSetWait", "/usr/lib/postgresql/15/bin/postgres", 0)})) ==
        "WaitEventSetWait");
}

TEST_CASE("a stack of libraries alone, and one without frames, has no place") {
  CHECK(place_of(LiveStack()).empty());
  CHECK(place_of(stack_of({frame("poll", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
                           frame("crc", "/usr/lib/gcc/x86_64-linux-gnu/12/include/smmintrin.h"),
                           frame("", "/src/x.cc"), frame("x", "?")}))
            .empty());
}

}  // namespace
}  // namespace vigil::leakwatch
