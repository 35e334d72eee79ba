#include "leakwatch/async_task.h"

#include <algorithm>
#include <span>

#include "base/text.h"
#include "base/thread_id.h"
#include "sampler/demangle.h"
#include "sampler/memory_reader.h"

namespace vigil::leakwatch {
namespace {

constexpr std::size_t kNameBytesMax = 512;

// The text at `lent`, up to its NUL, kNameBytesMax or the end of what can be read.
std::string copy_of(const char* lent) {
  std::string text(kNameBytesMax, '\0');
  const auto into = std::as_writable_bytes(std::span(text.data(), text.size()));
  text.resize(sampler::read_memory_prefix(reinterpret_cast<std::uintptr_t>(lent), into));
  text.resize(std::min(text.size(), text.find('\0')));
  return valid_utf8(text);
}

// "vigil::Coroutine<int> demo::fetch(const Url&) [with T = int]" is demo::fetch.
std::string function_of(const char* signature) {
  std::string text = copy_of(signature);
  text.resize(std::min(text.size(), text.find(" [with ")));
  return sampler::strip_signature(text);
}

// What tells one place from another, for those who group stacks by it: there is no code address.
// Names are literals, one for each function.
sampler::FrameAddress place_of(const AwaitFrame& frame) {
  return sampler::FrameAddress::place(reinterpret_cast<std::uintptr_t>(frame.function), frame.line);
}

sampler::TextFrame text_frame(const AwaitFrame& frame) {
  sampler::TextFrame text;
  text.function = function_of(frame.function);
  text.file = copy_of(frame.file);
  text.line = static_cast<std::int32_t>(frame.line);
  text.address = place_of(frame).lookup();
  return text;
}

}  // namespace

AsyncTask::AsyncTask(TaskRegistry& registry, TaskLabel label, const TaskStart& start)
    : registry_(registry), label_(label), started_(start.now) {
  const TaskRegistry::Origin origin = registry.origin_of(start.parent);
  scope_ = origin.scope;
  claim_ = registry.begin(label, start, origin, 0);
  if (start.request != nullptr) registry.describe(claim_, *start.request);
  if (claim_.id == TaskId::kNone) return;
  if (const TaskBegunHook hook = task_begun_hook()) hook(claim_.id);
}

AsyncTask::~AsyncTask() { registry_.end(claim_); }

void AsyncTask::enter() {
  outer_ = TaskRegistry::current_;
  outer_scope_ = current_scope();
  if (claim_.id != TaskId::kNone) TaskRegistry::current_ = {&registry_, claim_};
  set_current_scope(scope_);
  outer_work_ =
      sampler::enter_task({label_.name_, static_cast<std::uint64_t>(claim_.id), started_});
  registry_.mark_entered(claim_);
}

void AsyncTask::leave(const AwaitFrame* place) {
  sampler::leave_task(outer_work_);
  TaskRegistry::current_ = outer_;
  set_current_scope(outer_scope_);
  registry_.mark_left(claim_, place);
}

LiveStack await_stack(const TaskRegistry& registry, const TaskInfo& task) {
  LiveStack stack;
  stack.state = "await";
  std::vector<sampler::TextFrame> frames;
  const AwaitFrame* next = registry.waits_at(task);
  while (next != nullptr && frames.size() < kAwaitFramesMax) {
    const auto frame = sampler::read_object<AwaitFrame>(reinterpret_cast<std::uintptr_t>(next));
    if (!frame) break;
    frames.push_back(text_frame(*frame));
    stack.raw.frames.push_back(place_of(*frame));
    next = frame->caller;
  }
  const auto still = registry.find(task.id);
  if (!still || still->thread != 0 || still->moves != task.moves) {
    stack.failure = "the task has gone on while it was looked at";
    stack.raw = {};
    return stack;
  }
  stack.end = next == nullptr ? sampler::StackEnd::kComplete : sampler::StackEnd::kTruncated;
  if (frames.empty()) {
    stack.failure = "the task waits on no thread, and has not said where";
    stack.end = sampler::StackEnd::kNotWalked;
  }
  stack.frames = std::move(frames);
  stack.raw.end = stack.end;
  return stack;
}

void name_places(const LiveStack& stack, sampler::StackProfile& profile) {
  for (const sampler::TextFrame& frame : stack.frames) {
    const auto place = sampler::FrameAddress::instruction(frame.address);
    if (!place.may_be_made_up()) continue;
    profile.made_up_frames.try_emplace(
        place, sampler::MadeUpFrame{frame.function, frame.file, frame.line});
  }
}

}  // namespace vigil::leakwatch
