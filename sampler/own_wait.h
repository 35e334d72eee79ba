// OwnWait: while one lives, what the calling thread waits for is no contention of the program's.
//
//   const OwnWait nobody_works_here;
//   wake_.wait(lock);                     // an idle pool thread, the pause of a collector
//
// For vigil's own threads. Otherwise the block profile of a healthy server would be topped by
// threads that wait for work, and each wake-up of one would cost a sample. Go leaves its idle
// scheduler threads out as well.
//
// Nests. Only the calling thread is affected, and only in a program that is linked with
// vigil::contention; elsewhere it does nothing. Never allocates. Cost: an addition.
#pragma once

// Defined by vigil::contention (sampler/contention/wait_recorder.cc).
extern "C" void vigil_contention_begin_own_wait() noexcept __attribute__((weak));
extern "C" void vigil_contention_end_own_wait() noexcept __attribute__((weak));

namespace vigil::sampler {

class OwnWait {
 public:
  OwnWait() noexcept {
    if (vigil_contention_begin_own_wait != nullptr) vigil_contention_begin_own_wait();
  }
  ~OwnWait() {
    if (vigil_contention_end_own_wait != nullptr) vigil_contention_end_own_wait();
  }
  OwnWait(const OwnWait&) = delete;
  OwnWait& operator=(const OwnWait&) = delete;
};

}  // namespace vigil::sampler
