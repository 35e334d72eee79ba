#include "sampler/labels.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "base/thread_id.h"
#include "sampler/sample_session.h"
#include "sampler/thread_work.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs_of(const ThreadWork& work) {
  return work.labels.get() == nullptr ? Pairs() : work.labels.get()->pairs;
}
Pairs own_labels() { return pairs_of(own_work()); }

TEST_CASE("a task's name is a method and a route") {
  CHECK(split_name("GET /orders/{id}").method == "GET");
  CHECK(split_name("GET /orders/{id}").route == "/orders/{id}");
  for (const std::string_view name : {"/orders", "nightly export", "", " /x", "Get /x", "GET x"}) {
    CHECK(split_name(name).method.empty());
    CHECK(split_name(name).route == name);
  }
  CHECK(work_name("GET /a") == work_name(std::string("GET /a")));
  CHECK(work_name("GET /a") != work_name("GET /b"));
}

TEST_CASE("labels last for their scope, and inner ones are merged over outer ones") {
  CHECK(own_labels().empty());
  {
    const LabelScope outer({{"tenant", "acme"}, {"plan", "gold"}});
    CHECK(own_labels() == Pairs{{"plan", "gold"}, {"tenant", "acme"}});
    const int answer = with_labels({{"tenant", "zeta"}, {"a", "1"}}, [] {
      CHECK(own_labels() == Pairs{{"a", "1"}, {"plan", "gold"}, {"tenant", "zeta"}});
      return 42;
    });
    CHECK(answer == 42);
    CHECK(own_labels() == Pairs{{"plan", "gold"}, {"tenant", "acme"}});
    CHECK_THROWS(with_labels({{"a", "1"}}, [] { throw 1; }));
    CHECK(own_labels() == Pairs{{"plan", "gold"}, {"tenant", "acme"}});
  }
  CHECK(own_labels().empty());
}

TEST_CASE("labels beyond the limits are dropped and counted, long values cut between characters") {
  const auto before = labels_dropped();
  const std::string key(kLabelKeyBytesMax, 'k');
  const std::string long_key(kLabelKeyBytesMax + 1, 'k');
  // 255 bytes and then a character of two.
  std::string value(kLabelValueBytesMax - 1, 'v');
  const std::string whole = value;
  value.append("\xC3\xA4tail");
  {
    const LabelScope scope({{key, value}, {long_key, "x"}, {"", "x"}, {"pprof::base", "x"}});
    CHECK(own_labels() == Pairs{{key, whole}});
    CHECK(labels_dropped() == before + 3);
  }
  std::vector<std::unique_ptr<LabelScope>> scopes;
  for (std::size_t i = 0; i < kLabelsMax; ++i) {
    scopes.push_back(std::make_unique<LabelScope>(LabelList{{std::to_string(i), "x"}}));
  }
  CHECK(own_labels().size() == kLabelsMax);
  CHECK(labels_dropped() == before + 3);
  {
    const LabelScope one_more({{"more", "x"}, {"0", "changed"}});
    CHECK(own_labels().size() == kLabelsMax);
    CHECK(own_labels().front() == std::pair<std::string, std::string>("0", "changed"));
    CHECK(labels_dropped() == before + 4);
  }
  while (!scopes.empty()) scopes.pop_back();
  CHECK(own_labels().empty());
}

TEST_CASE("carried labels and their task are another thread's until its scope ends") {
  const OuterWork outer = enter_task({work_name("GET /carried"), 77, MonotonicTime(5ns)});
  std::optional<LabelScope> labels(std::in_place, LabelList{{"tenant", "acme"}});
  const CarriedLabels carried = CarriedLabels::current();
  labels.reset();
  leave_task(outer);
  ThreadWork inside;
  ThreadWork after;
  std::thread([&] {
    {
      const LabelScope own({{"other", "x"}});
      const LabelScope scope(carried);
      inside = own_work();
    }
    after = own_work();
  }).join();
  REQUIRE(inside.name != nullptr);
  CHECK(inside.name->text == "GET /carried");
  CHECK(inside.task == 77);
  CHECK(inside.started == MonotonicTime(5ns));
  CHECK(pairs_of(inside) == Pairs{{"tenant", "acme"}});
  CHECK(after.name == nullptr);
  CHECK(pairs_of(after).empty());
}

TEST_CASE("a request keeps its name in tasks that are no requests") {
  const OuterWork a = enter_task({work_name("GET /a"), 1, {}});
  const OuterWork b = enter_task({work_name("a part of it"), 2, {}});
  CHECK(own_work().task == 1);
  CHECK(innermost_task() == 2);
  const OuterWork c = enter_task({work_name("POST /c"), 3, {}});
  CHECK(own_work().task == 3);
  CHECK(innermost_task() == 3);
  leave_task(c);
  CHECK(own_work().task == 1);
  CHECK(innermost_task() == 2);
  leave_task(b);
  leave_task(a);
  CHECK(own_work().name == nullptr);
  CHECK(innermost_task() == 0);
  const OuterWork plain = enter_task({work_name("worker loop"), 4, {}});
  const OuterWork job = enter_task({work_name("job"), 5, {}});
  CHECK(own_work().task == 5);
  leave_task(job);
  leave_task(plain);
}

TEST_CASE("a thread's work is seen from outside while it lives") {
  std::atomic<int> step{0};
  TestThread thread([&] {
    const OuterWork outer = enter_task({work_name("GET /outside"), 9, {}});
    const LabelScope scope({{"tenant", "acme"}});
    step = 1;
    step.notify_all();
    step.wait(1);
    leave_task(outer);
  });
  step.wait(0);
  const ThreadWork work = work_of_thread(thread.tid());
  REQUIRE(work.name != nullptr);
  CHECK(work.name->route == "/outside");
  CHECK(pairs_of(work) == Pairs{{"tenant", "acme"}});
  CHECK(threads_with_tasks() == std::vector<pid_t>{thread.tid()});
  step = 2;
  step.notify_all();
  thread.join();
  CHECK(work_of_thread(thread.tid()).name == nullptr);
  CHECK(pairs_of(work_of_thread(thread.tid())).empty());
  CHECK(threads_with_tasks().empty());
  // A copy outlives the scope.
  CHECK(pairs_of(work) == Pairs{{"tenant", "acme"}});
}

TEST_CASE("reading other threads' labels races with their scopes without harm") {
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<TestThread>> threads;
  for (int i = 0; i < 3; ++i) {
    threads.push_back(std::make_unique<TestThread>([&, i] {
      const std::string name = "tenant-" + std::to_string(i) + "-with-a-long-name";
      while (!stop) {
        const OuterWork outer = enter_task({work_name("GET /race"), 1, MonotonicTime(1ns)});
        const LabelScope scope({{"tenant", name}});
        leave_task(outer);
      }
    }));
  }
  int labelled = 0;
  int torn = 0;
  const auto until = std::chrono::steady_clock::now() + 20s;
  while (labelled < 20'000 && std::chrono::steady_clock::now() < until) {
    for (std::size_t i = 0; i < threads.size(); ++i) {
      const ThreadWork work = work_of_thread(threads[i]->tid());
      if ((work.name == nullptr) != (work.task == 0)) ++torn;
      const Pairs pairs = pairs_of(work);
      if (pairs.empty()) continue;
      ++labelled;
      if (pairs.at(0).second != "tenant-" + std::to_string(i) + "-with-a-long-name") ++torn;
    }
  }
  stop = true;
  threads.clear();
  CHECK(labelled >= 20'000);
  CHECK(torn == 0);
}

// Expires a timer of `session` on the calling thread, as the kernel would.
void expire(SignalChannel& channel, const SampleSession& session) {
  siginfo_t info{};
  info.si_code = SI_TIMER;
  info.si_value.sival_ptr = reinterpret_cast<void*>(session.signal_value());
  syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), channel.signal_number(), &info);
}

TEST_CASE("a sample holds its labels longer than their scope, and gives them back") {
  Sampling sampling;
  auto session = SampleSession::open(*sampling.channel);
  REQUIRE(session);
  sigsafe::CountedLabels* counted = nullptr;
  LabelsRef kept;
  {
    const LabelScope scope({{"tenant", "acme"}});
    counted = sigsafe::t_work.labels.load();
    kept = LabelsRef::share(counted);
    CHECK(counted->references == 2);
    expire(*sampling.channel, **session);
    expire(*sampling.channel, **session);
    CHECK(counted->references == 4);
  }
  CHECK(counted->references == 3);
  int samples = 0;
  (*session)->drain([&](const sigsafe::Slot& slot) {
    ++samples;
    CHECK(pairs_of(work_of(slot.work)) == Pairs{{"tenant", "acme"}});
  });
  CHECK(samples == 2);
  CHECK(counted->references == 1);
}

TEST_CASE("samples that nobody drains give their labels back too") {
  Sampling sampling;
  const LabelScope scope({{"tenant", "acme"}});
  sigsafe::CountedLabels* const counted = sigsafe::t_work.labels.load();
  {
    auto session = SampleSession::open(*sampling.channel);
    REQUIRE(session);
    expire(*sampling.channel, **session);
    CHECK(counted->references == 2);
  }
  CHECK(counted->references == 1);
}

TEST_CASE("a dump has each thread's task and labels, blocked or running") {
  Sampling sampling;
  std::atomic<bool> stop{false};
  std::atomic<int> gate{0};
  const auto labelled = [](const char* tenant, auto body) {
    return [tenant, body] {
      const OuterWork outer = enter_task({work_name("GET /dumped"), 3, {}});
      const LabelScope scope({{"tenant", tenant}});
      body();
      leave_task(outer);
    };
  };
  TestThread spinning(labelled("runs", [&] { test_spin(stop); }));
  TestThread waiting(labelled("waits", [&] { gate.wait(0); }));
  REQUIRE(waiting.await_blocked(SYS_futex));
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (work_of_thread(spinning.tid()).labels.get() == nullptr &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  const ThreadStack blocked = sampling.capture_one(waiting.tid());
  CHECK(blocked.step == CaptureStep::kSignalFree);
  CHECK(blocked.work.task == 3);
  CHECK(pairs_of(blocked.work) == Pairs{{"tenant", "waits"}});
  const ThreadStack running = sampling.capture_one(spinning.tid());
  CHECK(running.step == CaptureStep::kSignal);
  CHECK(running.work.task == 3);
  CHECK(pairs_of(running.work) == Pairs{{"tenant", "runs"}});
  const LabelScope scope({{"tenant", "own"}});
  CHECK(pairs_of(sampling.capture_one(gettid()).work) == Pairs{{"tenant", "own"}});
  stop = true;
  gate = 1;
  gate.notify_all();
}

TEST_CASE("P6.7: a forked child has the forking thread's work only, and can go on") {
  std::atomic<int> gate{0};
  TestThread other([&] {
    const LabelScope scope({{"tenant", "other"}});
    gate = 1;
    gate.notify_all();
    gate.wait(1);
  });
  gate.wait(0);
  const LabelScope scope({{"tenant", "forking"}});
  const pid_t child = fork();
  if (child == 0) {
    const bool own = pairs_of(work_of_thread(gettid())) == Pairs{{"tenant", "forking"}};
    const bool others = pairs_of(work_of_thread(other.tid())).empty();
    const LabelScope more({{"a", "1"}});
    _exit(own && others && own_labels().size() == 2 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  gate = 2;
  gate.notify_all();
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace vigil::sampler
