// vigil::creation_stacks: an opt-in CMake target for test programs. Linked into an executable, it
// defines the C library's functions that create something and calls the library's own:
//
//   threads       pthread_create
//   descriptors   open openat creat (and their 64 forms) fopen opendir mkstemp mkostemp socket
//                 socketpair accept accept4 pipe pipe2 dup dup2 dup3 eventfd epoll_create
//                 epoll_create1 timerfd_create inotify_init inotify_init1 memfd_create signalfd;
//                 close and closedir forget
//   timers        timer_create, timer_delete
//   processes     fork posix_spawn posix_spawnp
//   tasks         through the registry's hook, once creation_stacks_note_tasks() was called
//
// Each notes the caller's stack and scope (creations.h), so that the leak check can say who created
// what leaked, and to which of several tests that run at once it belongs. A new thread starts in
// its creator's scope. Being in the executable these definitions come before libc's for every
// shared library too, and behind them come a sanitizer's, as before.
//
// There is nothing to call for it to work. Cost: about 1 us and 0.3 us a frame for each creation.
// What is not seen: creations inside libc itself (tmpfile, the helper thread of SIGEV_THREAD
// timers), vfork, clone and plain system calls.
//
// pthread_create is defined weak: a program that links another interposer of it links without a
// conflict; that one then shall pass on to vigil_creation_stacks_pthread_create instead of looking
// for the next definition itself, as vigil::contention does.
#pragma once

#include <pthread.h>

extern "C" {

// What this target's pthread_create does. For an interposer in the same program.
int vigil_creation_stacks_pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                                         void* (*start)(void*), void* argument)
    __attribute__((weak));
}

namespace vigil::leakwatch {

// Tasks are noted too from now on, in every registry. Thread-safe.
void creation_stacks_note_tasks() noexcept;

}  // namespace vigil::leakwatch
