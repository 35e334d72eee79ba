// Where an exception was thrown, known where it is caught.

#include "sampler/throw_stack.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sampler/unwinder.h"
#include "tests/sampler/frame_names.h"
#include "tests/support/catch.h"

VIGIL_TEST_FUNCTION void vigil_test_thrower(int kind) {
  if (kind == 0) throw std::runtime_error("thrown");
  if (kind == 1) throw 42;
  (void)std::vector<int>().at(static_cast<std::size_t>(kind));  // thrown inside libstdc++
}

VIGIL_TEST_FUNCTION void vigil_test_caller(int kind) {
  vigil_test_thrower(kind);
  asm volatile("");  // not a tail call
}

namespace vigil::sampler {
namespace {

std::exception_ptr caught_from(int kind) {
  try {
    vigil_test_caller(kind);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

bool names_thrower_then_caller(const Stack& stack) {
  const auto names = frame_names(stack);
  const auto thrower = std::find(names.begin(), names.end(), "vigil_test_thrower");
  return thrower != names.end() && thrower + 1 != names.end() &&
         *(thrower + 1) == "vigil_test_caller";
}

TEST_CASE("the stack begins where the exception was thrown") {
  const Stack stack = throw_stack_of(caught_from(0));
  REQUIRE(stack.frames.size() >= 3);
  REQUIRE(stack.frames.size() >= 3);
  CHECK(frame_names(stack)[0] == "vigil_test_thrower");
  CHECK(names_thrower_then_caller(stack));
  CHECK(stack.end == StackEnd::kComplete);
}

TEST_CASE("also for what is no std::exception, and for a throw inside a shared library") {
  CHECK(names_thrower_then_caller(throw_stack_of(caught_from(1))));
  const Stack stack = throw_stack_of(caught_from(7));
  CHECK(names_thrower_then_caller(stack));
  CHECK(frame_names(stack)[0] != "vigil_test_thrower");
}

TEST_CASE("throws in between, rethrowing, and another thread do not change it") {
  const std::exception_ptr first = caught_from(0);
  (void)caught_from(1);
  std::exception_ptr again;
  try {
    std::rethrow_exception(first);
  } catch (...) {
    again = std::current_exception();
  }
  CHECK(names_thrower_then_caller(throw_stack_of(again)));
  const bool elsewhere = std::async(std::launch::async, [&] {
                           return names_thrower_then_caller(throw_stack_of(first));
                         }).get();
  CHECK(elsewhere);
}

TEST_CASE("a throw is known until as many others have come as the table holds, not one longer") {
  const std::exception_ptr first = caught_from(0);
  std::vector<std::exception_ptr> others;  // kept, so that no object's memory is used twice
  for (std::size_t i = 1; i < kThrowsMax; ++i) others.push_back(caught_from(1));
  CHECK(throw_stack_of(first).frames.size() >= 3);
  others.push_back(caught_from(1));
  CHECK(throw_stack_of(first).end == StackEnd::kNotWalked);
  CHECK(throw_stack_of(nullptr).end == StackEnd::kNotWalked);
}

struct Counter {
  explicit Counter(int& to) : count(to) {}
  ~Counter() { ++count; }
  int& count;
};

[[gnu::noinline]] void throw_past_a_destructor(int& passed) {
  const Counter counter(passed);
  vigil_test_caller(0);
}

// In a program with libunwind, which has an _Unwind_Resume of its own: a throw that meets that one
// on its way is a segmentation fault.
TEST_CASE("an exception passes the destructors of a program that has the sampler too") {
  Modules modules;
  const Unwinder unwinder(modules);
  int passed = 0;
  CHECK_THROWS_AS(throw_past_a_destructor(passed), std::runtime_error);
  CHECK(passed == 1);
}

TEST_CASE("many threads throw and look at once") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&wrong, t] {
      for (int i = 0; i < 2000; ++i) {
        const Stack stack = throw_stack_of(caught_from(t % 2));
        // Found, as a rule; overtaken is allowed, somebody else's stack is not.
        if (!stack.frames.empty() && !names_thrower_then_caller(stack)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace vigil::sampler
