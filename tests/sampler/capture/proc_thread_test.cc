#include "sampler/proc_thread.h"

#include <sys/prctl.h>

#include <algorithm>

#include "base/thread_id.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using Kind = ThreadSyscall::Kind;

TEST_CASE("the syscall file") {
  CHECK(parse_thread_syscall("running\n")->kind == Kind::kRunning);
  const auto blocked =
      parse_thread_syscall("202 0x1 0x80 0x3 0x0 0x5 0x6 0x7ffee9d92278 0x7f98fd6092ad\n");
  REQUIRE(blocked);
  CHECK(blocked->kind == Kind::kBlocked);
  CHECK(blocked->number == 202);
  CHECK(blocked->args == std::array<std::uint64_t, 6>{1, 0x80, 3, 0, 5, 6});
  CHECK(blocked->sp == 0x7ffee9d92278);
  CHECK(blocked->pc == 0x7f98fd6092ad);
  const auto stopped = parse_thread_syscall("-1 0x7ffee9d92278 0x7f98fd6092ad\n");
  REQUIRE(stopped);
  CHECK(stopped->kind == Kind::kStopped);
  CHECK(stopped->number == -1);
  CHECK(stopped->pc == 0x7f98fd6092ad);
}

TEST_CASE("syscall texts of another form are refused") {
  for (const char* text : {"", "\n", "runningx", "202", "202 0x1 0x2", "202 1 2 3 4 5 6 7 8",
                           "202 0x1 0x80 0x3 0x0 0x5 0x6 0x7", "-1 0x1", "-1 0x1 0x2 0x3",
                           "202 0x1 0x80 0x3 0x0 0x5 0x6 0x7 0x8 0x9", "0x1 0x2 0x3",
                           "202 0x1 0x80 0x3 0x0 0x5 0x6 0x7 0x11111111111111111"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_thread_syscall(text));
  }
}

std::string stat_text(const std::string& name) {
  return "4918 (" + name + ") S 1 4918 4911 0 -1 4194304 90 0 0 0 7 8 0 0 20 0 1 0 123456 5 6 7\n";
}

TEST_CASE("the stat file, whatever the name") {
  for (const char* name : {"server", "a) (b", ")", "", "x) S 1 2 (", "new\nline", "(((("}) {
    CAPTURE(name);
    const auto stat = parse_thread_stat(stat_text(name));
    REQUIRE(stat);
    CHECK(stat->name == name);
    CHECK(stat->state == 'S');
    CHECK(stat->start_ticks == 123456);
  }
  for (const char* text : {"", "1", "1 (x", "1 x) S", "1 (x) ", "1 (x) SS 1", "1 (x) S 1 2 3"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_thread_stat(text));
  }
}

TEST_CASE("the status file") {
  const std::string text =
      "Name:\tSigBlk: 7\nState:\tS (sleeping)\nSigBlk:\t0000000000010002\n"
      "voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t5\n";
  const auto status = parse_thread_status(text);
  REQUIRE(status);
  CHECK(status->signals_blocked == 0x10002);
  CHECK(status->blocks(2));
  CHECK(status->blocks(17));
  CHECK_FALSE(status->blocks(1));
  CHECK_FALSE(status->blocks(64));
  CHECK(status->switches == 155);
  // Our handler can run in it, unless it blocks the signal or may call nothing (Seccomp: 1).
  CHECK(status->calls == ThreadStatus::Calls::kAny);
  const auto with_seccomp = [&text](const char* mode) {
    return parse_thread_status(std::string("Seccomp:\t") + mode + "\n" + text);
  };
  CHECK(with_seccomp("0")->calls == ThreadStatus::Calls::kAny);
  CHECK(with_seccomp("2")->calls == ThreadStatus::Calls::kAny);
  const auto strict = with_seccomp("1");
  CHECK(strict->calls == ThreadStatus::Calls::kStrict);
  CHECK_FALSE(strict->takes(64));
  CHECK_FALSE(parse_thread_status("SigBlk:\t12\n"));
  CHECK_FALSE(parse_thread_status(
      "SigBlk:\tzz\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t5\n"));
}

TEST_CASE("the run count, and kernels that do not count") {
  CHECK(parse_schedstat("90243 65873 2\n")->runs == 2);
  CHECK_FALSE(parse_schedstat("0 0 0\n")->is_counted());
  CHECK_FALSE(parse_schedstat("1 2\n"));
  CHECK_FALSE(parse_schedstat("1 2 3 4\n"));
  CHECK_FALSE(parse_schedstat(""));
}

TEST_CASE("the wait channel") {
  CHECK(parse_wait_channel("futex_wait_queue") == "futex_wait_queue");
  CHECK(parse_wait_channel("0").empty());
  CHECK(parse_wait_channel("0\n").empty());
  CHECK(parse_wait_channel("").empty());
}

TEST_CASE("this thread's own files") {
  const pid_t tid = current_thread_id();
  prctl(PR_SET_NAME, "odd) (name");
  const auto stat = read_thread_stat(tid);
  REQUIRE(stat);
  CHECK(stat->name == "odd) (name");
  CHECK(stat->state == 'R');
  CHECK(stat->start_ticks > 0);
  CHECK(*read_thread_name(tid) == "odd) (name");
  const auto status = read_thread_status(tid);
  REQUIRE(status);
  CHECK_FALSE(status->blocks(10));
  CHECK(read_run_witness(tid));
  CHECK(read_wait_channel(tid));
  const auto call = read_thread_syscall(tid);
  REQUIRE(call);
  const auto tids = list_threads();
  REQUIRE(tids);
  CHECK(std::binary_search(tids->begin(), tids->end(), tid));
}

TEST_CASE("a thread that is not there is not found") {
  const pid_t nobody = 0x7ffffff0;
  CHECK(read_thread_stat(nobody).error().code() == ErrorCode::kNotFound);
  CHECK(read_thread_syscall(nobody).error().code() == ErrorCode::kNotFound);
  CHECK(read_thread_status(nobody).error().code() == ErrorCode::kNotFound);
  CHECK(read_run_witness(nobody).error().code() == ErrorCode::kNotFound);
}

}  // namespace
}  // namespace vigil::sampler
