#include "sampler/thread_work.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <unordered_map>

#include "sampler/slot_edge.h"

namespace vigil::sampler {
namespace {

// A thread that has worked on something. In thread-local storage, and trivially destructible, so
// that tasks in other thread-locals' destructors still find it; unlist() takes it off the list.
struct ListedThread {
  sigsafe::WorkCell* work = nullptr;
  pid_t tid = 0;
  // Guards the thread's labels against a collector: between its load of the pointer and its new
  // reference the owner must not let go. The owner's handler needs no lock (CountedLabels).
  std::mutex labels_mutex;
};

constinit thread_local ListedThread t_listed;

// The exception to "no globals" that a thread-local makes necessary: its readers must find it.
// Never destroyed, because threads may end after static destructors have run; and in no need of
// memory to begin with.
template <typename T>
T& immortal() {
  alignas(T) static std::byte memory[sizeof(T)];
  static T& object = *new (memory) T;
  return object;
}

struct Listed {
  std::mutex mutex;
  std::map<pid_t, ListedThread*> by_tid;  // guarded by mutex
};
Listed& listed() { return immortal<Listed>(); }

// Called when a thread ends, with its ListedThread. is_listed stays set: what works later in that
// thread's end is not listed again.
void unlist(void* thread) {
  const std::lock_guard lock(listed().mutex);
  listed().by_tid.erase(static_cast<ListedThread*>(thread)->tid);
}

// Whose value, where it is set, has unlist() called. Not a thread_local with a destructor: the C
// library ends the process when there is no memory to register one (glibc 2.36,
// __cxa_thread_atexit_impl).
std::optional<pthread_key_t> make_unlisting_key() {
  pthread_key_t key{};
  if (::pthread_key_create(&key, unlist) != 0) return std::nullopt;
  return key;
}
bool have_unlisted() {
  static const std::optional<pthread_key_t> key = make_unlisting_key();
  return key && ::pthread_setspecific(*key, &t_listed) == 0;
}

// A forked child has one thread, and locks as they happened to be.
void forget_others_after_fork() {
  new (&listed()) Listed;
  new (&t_listed.labels_mutex) std::mutex;
  if (t_listed.work == nullptr) return;
  t_listed.tid = ::gettid();
  try {
    listed().by_tid.emplace(t_listed.tid, &t_listed);
  } catch (const std::bad_alloc&) {  // its samples have no labels
  }
}

ThreadWork shared_work(const sigsafe::WorkMark& mark) {
  return {mark.name, mark.task, MonotonicTime(Duration(mark.started_ns)),
          LabelsRef::share(mark.labels)};
}

// Holds the list's lock.
ThreadWork read_work(ListedThread& thread) {
  sigsafe::WorkMark mark = thread.work->read_task();
  const std::lock_guard lock(thread.labels_mutex);
  mark.labels = thread.work->labels.load(std::memory_order_acquire);
  return shared_work(mark);
}

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};

struct Names {
  std::mutex mutex;
  // Guarded by mutex; nodes never move.
  std::unordered_map<std::string, WorkName, StringHash, std::equal_to<>> by_text;
};

Names& names() { return immortal<Names>(); }

bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }

}  // namespace

NameParts split_name(std::string_view text) {
  const std::size_t space = text.find(" /");
  if (space == std::string_view::npos || space == 0 ||
      !std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(space), is_capital)) {
    return {{}, text};
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

const WorkName* work_name(std::string_view text) {
  Names& all = names();
  const std::lock_guard lock(all.mutex);
  if (const auto found = all.by_text.find(text); found != all.by_text.end()) {
    return &found->second;
  }
  WorkName& name = all.by_text[std::string(text)];
  name.text = text;
  const NameParts parts = split_name(name.text);
  name.method = parts.method;
  name.route = parts.route;
  release_to_slots(&name);
  return &name;
}

void list_this_thread() noexcept {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, &forget_others_after_fork); });
  if (!have_unlisted()) return;  // a sample of this thread has no labels; its next task tries again
  t_listed.tid = ::gettid();
  t_listed.work = &sigsafe::t_work;
  try {
    const std::lock_guard lock(listed().mutex);
    listed().by_tid[t_listed.tid] = &t_listed;
  } catch (const std::bad_alloc&) {
    return;  // the same
  }
  sigsafe::t_work.is_listed = true;
}

LabelsRef exchange_labels(LabelsRef labels) {
  // The reference that `labels` held is the thread's from here on.
  sigsafe::CountedLabels* const taken = labels.counted();
  if (taken != nullptr) taken->references.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(t_listed.labels_mutex);
  return LabelsRef::adopt(sigsafe::t_work.labels.exchange(taken, std::memory_order_acq_rel));
}

ThreadWork work_of(const sigsafe::WorkMark& mark) {
  acquire_from_slot(mark.name);
  acquire_from_slot(mark.labels);
  return shared_work(mark);
}

ThreadWork own_work() {
  sigsafe::WorkMark mark = sigsafe::t_work.read_task();
  mark.labels = sigsafe::t_work.labels.load(std::memory_order_relaxed);
  return shared_work(mark);
}

ThreadWork work_of_thread(pid_t tid) {
  const std::lock_guard lock(listed().mutex);
  const auto found = listed().by_tid.find(tid);
  return found == listed().by_tid.end() ? ThreadWork() : read_work(*found->second);
}

std::vector<pid_t> threads_with_tasks() {
  std::vector<pid_t> tids;
  const std::lock_guard lock(listed().mutex);
  for (const auto& [tid, thread] : listed().by_tid) {
    if (thread->work->name.load(std::memory_order_relaxed) != nullptr) tids.push_back(tid);
  }
  return tids;
}

}  // namespace vigil::sampler
