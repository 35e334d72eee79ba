#include "leakwatch/leakcheck/leak_check.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <mutex>
#include <utility>

#include <fmt/core.h>

#include "leakwatch/leakcheck/leak_stacks.h"

// There in programs that run under ThreadSanitizer, however vigil itself was compiled.
extern "C" [[gnu::weak]] void __tsan_init();

namespace vigil::leakwatch {
namespace {

// Open checks, and all that ever began: how a check learns that it was not alone. Owned by
// LeakCheck.
constinit std::atomic<std::uint64_t> checks_open{0};
constinit std::atomic<std::uint64_t> checks_begun{0};

// One check at a time looks: what it opens meanwhile (folders and files of /proc, debug files) would
// be seen by another, and nobody could say whose it is.
constinit std::mutex looking;

// What the check itself opens for its captures (libunwind's pipe, debug files) is nobody's leak.
constexpr ScopeId kCheckersOwn{0xFFFF'FFFF};

constinit thread_local LeakCheck* current_check = nullptr;

// Rules about current stacks need captures and symbols; what ends by itself within the first
// millisecond is not worth them.
constexpr int kTriesWithoutStacks = 10;

void append_frames(std::string& text, std::string_view heading,
                   std::span<const sampler::TextFrame> frames, sampler::StackEnd end) {
  fmt::format_to(std::back_inserter(text), "{}\n", heading);
  sampler::append_stack_text(text, frames, end);
}

void append_leak(std::string& text, const Leak& leak) {
  fmt::format_to(std::back_inserter(text), "{}\n", leak.resource.title());
  if (!leak.created.empty()) {
    append_frames(text, "created by:", leak.created, leak.created_end);
  } else {
    text += creations_are_noted() ? "created where nobody noted it\n"
                                  : "created by: link vigil::creation_stacks to know\n";
  }
  if (leak.resource.thread == 0) return;
  fmt::format_to(std::back_inserter(text), "now in thread {} \"{}\" [{}]:\n{}", leak.now.thread,
                 leak.now.thread_name, leak.now.state, format_stack(leak.now));
}

// ThreadSanitizer starts a thread of its own together with the program's first one. A test that
// starts that one is not to be charged with it: ours comes before any baseline.
void start_thread_sanitizers_own() {
  if (__tsan_init == nullptr) return;
  static const bool started = [] {
    pthread_t first;
    const auto nothing = [](void*) -> void* { return nullptr; };
    return pthread_create(&first, nullptr, nothing, nullptr) == 0 &&
           pthread_join(first, nullptr) == 0;
  }();
  static_cast<void>(started);
}

}  // namespace

LeakCheck::LeakCheck(LeakCheckOptions options, Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      outer_check_(std::exchange(current_check, this)),
      outer_(current_scope()),
      scope_(new_scope()),
      began_alone_(checks_open.fetch_add(1) == 0),
      checks_begun_(checks_begun.fetch_add(1) + 1) {
  assert(options_.tries >= 1);
  start_thread_sanitizers_own();
  set_current_scope(scope_);
  ignore_current();
}

LeakCheck::~LeakCheck() { leave(); }

LeakCheck* LeakCheck::current() { return current_check; }

void LeakCheck::leave() {
  if (!std::exchange(open_, false)) return;
  set_current_scope(outer_);
  current_check = outer_check_;
  checks_open.fetch_sub(1);
}

void LeakCheck::ignore_current() {
  const std::lock_guard one_at_a_time(looking);
  baseline_ = list_resources(options_.registries);
}

bool LeakCheck::was_alone() const { return began_alone_ && checks_begun.load() == checks_begun_; }

LeakCheck::Found LeakCheck::look() const {
  Found found;
  const bool alone = was_alone();
  const std::lock_guard one_at_a_time(looking);
  for (Resource& resource : began_since(baseline_, list_resources(options_.registries))) {
    const ScopeId owner = resource.owner().value_or(ScopeId::kNone);
    if (owner == scope_ || (owner == ScopeId::kNone && alone)) {
      found.mine.push_back(std::move(resource));
    } else if (owner == ScopeId::kNone) {
      found.unattributed.push_back(std::move(resource));
    }
  }
  return found;
}

void LeakCheck::pause(int tries_done) const {
  constexpr int kDoublingsMax = 30;
  const Duration grown =
      std::chrono::microseconds(std::int64_t{1} << std::min(tries_done - 1, kDoublingsMax));
  const MonotonicTime deadline = clock_.now() + std::min(grown, options_.pause_max);
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  while (clock_.now() < deadline) clock_.wait_until(lock, never, deadline);
}

// Where creations are not noted, our own are those that appear meanwhile. (Another thread's that
// appear in that moment are missed then; only after ten looks at something else that leaks.)
void LeakCheck::add_to_baseline(const ResourceList& before_captures) {
  if (creations_are_noted()) return;
  for (Resource& own : began_since(before_captures, list_resources(options_.registries))) {
    baseline_.resources.push_back(std::move(own));
  }
  sort_resources(baseline_);
}

std::vector<Leak> LeakCheck::with_stacks(std::vector<Resource> found) {
  if (found.empty()) return {};
  const std::lock_guard one_at_a_time(looking);
  const ScopeGuard ours(kCheckersOwn);
  const ResourceList before = list_resources(options_.registries);
  if (stacks_ == nullptr) stacks_ = std::make_unique<Stacks>(options_.stacks, clock_);
  std::vector<Leak> leaks = stacks_->look_up(std::move(found));
  add_to_baseline(before);
  return leaks;
}

std::vector<Leak> LeakCheck::not_ignored(std::vector<Resource> found) {
  std::vector<Leak> leaks = with_stacks(std::move(found));
  std::erase_if(leaks, [this](const Leak& leak) {
    const Resource& resource = leak.resource;
    const std::string_view thread_name =
        resource.kind == ResourceKind::kThread ? resource.name : leak.now.thread_name;
    return is_ignored(
        options_.ignore,
        {.now = leak.now.frames, .created = leak.created, .thread_name = thread_name});
  });
  return leaks;
}

LeakReport LeakCheck::finish() {
  assert(open_);
  LeakReport report;
  for (;;) {
    Found found = look();
    ++report.tries;
    const bool is_last = report.tries == options_.tries;
    if (found.mine.empty() || is_last || report.tries > kTriesWithoutStacks) {
      report.leaks = not_ignored(std::move(found.mine));
      if (report.clean() || is_last) {
        report.unattributed = not_ignored(std::move(found.unattributed));
        break;
      }
    }
    pause(report.tries);
  }
  report.notes = baseline_.missing;
  if (stacks_ != nullptr && !stacks_->absent().empty()) report.notes.push_back(stacks_->absent());
  stacks_.reset();
  leave();
  return report;
}

std::string format_leaks(const LeakReport& report) {
  std::string text;
  if (!report.clean()) {
    text = fmt::format("{} {} began in this test and did not end:\n", report.leaks.size(),
                       report.leaks.size() == 1 ? "thing" : "things");
  }
  for (const Leak& leak : report.leaks) {
    text += "\nleaked: ";
    append_leak(text, leak);
  }
  for (const Leak& leak : report.unattributed) {
    text += "\nnot known whose, while several tests ran at once: ";
    append_leak(text, leak);
  }
  for (const std::string& note : report.notes) text += "\nnot looked at: " + note + "\n";
  return text;
}

}  // namespace vigil::leakwatch
