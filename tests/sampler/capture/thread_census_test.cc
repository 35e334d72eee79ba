#include "sampler/thread_census.h"

#include <algorithm>
#include <latch>
#include <thread>

#include "base/thread_id.h"
#include "sampler/proc_thread.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

// A thread that lives until the object does not.
class Companion {
 public:
  Companion() {
    thread_ = std::thread([this] {
      tid_ = current_thread_id();
      begun_.count_down();
      end_.wait();
    });
    begun_.wait();
  }
  ~Companion() { end(); }
  pid_t tid() const { return tid_; }
  // Returns when the kernel has forgotten it, which is a little later than join().
  void end() {
    if (!thread_.joinable()) return;
    end_.count_down();
    thread_.join();
    while (read_thread_stat(tid_)) std::this_thread::yield();
  }

 private:
  pid_t tid_ = 0;
  std::latch begun_{1};
  std::latch end_{1};
  std::thread thread_;
};

bool has(const ThreadCensus& census, pid_t tid) {
  return std::binary_search(census.tids().begin(), census.tids().end(), tid);
}

TEST_CASE("thread census: each change is met at the next look") {
  ThreadCensus census;
  MonotonicTime now{1s};
  CHECK(census.tids().empty());
  CHECK(census.look(now));
  CHECK(has(census, current_thread_id()));
  CHECK_FALSE(census.look(now));

  Companion first;
  CHECK(census.look(now));
  CHECK(has(census, first.tid()));
  CHECK_FALSE(census.look(now));

  // As many as before: one has ended, another has begun.
  first.end();
  Companion second;
  CHECK(census.look(now));
  CHECK_FALSE(has(census, first.tid()));
  CHECK(has(census, second.tid()));

  second.end();
  CHECK(census.look(now));
  CHECK_FALSE(has(census, second.tid()));
  // An old list is read again, and is the same.
  now += ThreadCensus::kListAge;
  CHECK_FALSE(census.look(now));
}

}  // namespace
}  // namespace vigil::sampler
