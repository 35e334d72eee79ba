// What a captured thread is, in words.
#include "sampler/thread_snapshot.h"
#include "sampler/wait_reason.h"

namespace vigil::sampler {

std::string_view failure_sentence(CaptureFailure failure) {
  switch (failure) {
    case CaptureFailure::kNone:
      return "";
    case CaptureFailure::kGone:
      return "it ended while the stacks were taken";
    case CaptureFailure::kSignalBlocked:
      return "it blocks the signal that captures running threads";
    case CaptureFailure::kNoAnswer:
      return "it did not answer the capture signal before the deadline";
    case CaptureFailure::kUnreadable:
      return "its stack pointer leads to no readable memory";
    case CaptureFailure::kNotInterrupted:
      return "the stack is incomplete; a signal would show the rest but also interrupt its system "
             "call";
    case CaptureFailure::kMoving:
      return "it kept changing between running and sleeping";
    case CaptureFailure::kNoSlot:
      return "no capture slot was free before the deadline";
    case CaptureFailure::kProcHidden:
      return "the kernel does not show it in /proc";
  }
  return "";
}

std::string_view wait_reason(const ThreadStack& thread) {
  return wait_reason(thread.call, thread.state);
}

}  // namespace vigil::sampler
