#include "tests/support/faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

// The C library's own second names of these: dlsym(3) may allocate.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace vigil::test {
namespace {

constinit std::atomic<FaultPlan> current_plan{nullptr};
// Known to the loader before any thread exists: its first use allocates nothing.
[[gnu::tls_model("initial-exec")]] constinit thread_local int unharmed = 0;

CallOutcome outcome_of(Call call) {
  const FaultPlan plan = current_plan.load(std::memory_order_acquire);
  if (plan == nullptr || unharmed > 0) return {};
  const int before = errno;
  const CallOutcome outcome = plan(call);
  errno = before;
  return outcome;
}

// Whether the call is to fail; errno is set then.
bool fails(Call call) {
  const int error = outcome_of(call).error;
  if (error != 0) errno = error;
  return error != 0;
}

// How many bytes of `size` a call may move, or -1: it fails.
ssize_t allowed(Call call, std::size_t size) {
  const CallOutcome outcome = outcome_of(call);
  if (outcome.error == 0) return static_cast<ssize_t>(std::min(size, outcome.bytes_max));
  errno = outcome.error;
  return -1;
}

// The next definition of a function.
template <typename Function>
class Original {
 public:
  constexpr explicit Original(const char* name) : name_(name) {}
  template <typename... Arguments>
  auto operator()(Arguments... arguments) {
    Function* found = found_.load(std::memory_order_relaxed);
    if (found == nullptr) {
      const Unharmed looking;
      found = reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name_));
      found_.store(found, std::memory_order_relaxed);
    }
    return found(arguments...);
  }

 private:
  const char* const name_;
  std::atomic<Function*> found_{nullptr};
};

// FaultAt's.
struct Planned {
  std::atomic<Call> call;
  std::atomic<int> error;
  std::atomic<std::size_t> bytes_max;
  std::atomic<std::uint64_t> first;
  std::atomic<std::uint64_t> times;
  std::atomic<std::uint64_t> calls;
};
constinit Planned planned{};

CallOutcome nth_call(Call call) {
  if (call != planned.call.load()) return {};
  const std::uint64_t number = ++planned.calls;
  const std::uint64_t first = planned.first.load();
  if (number < first || number - first >= planned.times.load()) return {};
  return {planned.error.load(), planned.bytes_max.load()};
}

FaultPlan set_planned(const Fault& fault, std::uint64_t n) {
  planned.call = fault.call;
  planned.error = fault.error;
  planned.bytes_max = fault.bytes_max;
  planned.first = n;
  planned.times = fault.times;
  planned.calls = 0;
  return nth_call;
}

}  // namespace

WithFaults::WithFaults(FaultPlan plan) { current_plan.store(plan, std::memory_order_release); }
WithFaults::~WithFaults() { current_plan.store(nullptr, std::memory_order_release); }

Unharmed::Unharmed() { ++unharmed; }
Unharmed::~Unharmed() { --unharmed; }

FaultAt::FaultAt(const Fault& fault, std::uint64_t n) : plan_(set_planned(fault, n)) {}
std::uint64_t FaultAt::calls() const { return planned.calls.load(); }

namespace {

// The declarations' attributes (nonnull, malloc, …) are no part of the pointers' types.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"
constinit Original<decltype(::socket)> original_socket{"socket"};
constinit Original<decltype(::bind)> original_bind{"bind"};
constinit Original<decltype(::listen)> original_listen{"listen"};
constinit Original<decltype(::accept4)> original_accept4{"accept4"};
constinit Original<decltype(::recv)> original_recv{"recv"};
constinit Original<decltype(::send)> original_send{"send"};
constinit Original<decltype(::sendmsg)> original_sendmsg{"sendmsg"};
constinit Original<decltype(::setsockopt)> original_setsockopt{"setsockopt"};
constinit Original<decltype(::getsockopt)> original_getsockopt{"getsockopt"};
constinit Original<int(int, int, void*)> original_fcntl{"fcntl"};
constinit Original<decltype(::epoll_create1)> original_epoll_create1{"epoll_create1"};
constinit Original<decltype(::epoll_ctl)> original_epoll_ctl{"epoll_ctl"};
constinit Original<decltype(::epoll_wait)> original_epoll_wait{"epoll_wait"};
constinit Original<decltype(::eventfd)> original_eventfd{"eventfd"};
constinit Original<decltype(::poll)> original_poll{"poll"};
constinit Original<int(const char*, int, unsigned)> original_open{"open"};
constinit Original<int(const char*, int, unsigned)> original_open64{"open64"};
constinit Original<int(int, const char*, int, unsigned)> original_openat{"openat"};
constinit Original<decltype(::opendir)> original_opendir{"opendir"};
constinit Original<decltype(::read)> original_read{"read"};
constinit Original<decltype(::write)> original_write{"write"};
constinit Original<decltype(::mmap)> original_mmap{"mmap"};
constinit Original<decltype(::timer_create)> original_timer_create{"timer_create"};
constinit Original<decltype(::pthread_create)> original_pthread_create{"pthread_create"};
#pragma GCC diagnostic pop

// The third argument of open and its like, where there is one.
unsigned mode_of(int flags, va_list more) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(more, unsigned) : 0;
}

}  // namespace
}  // namespace vigil::test

using namespace vigil::test;

extern "C" {
// NOLINTBEGIN: the C library's names

int socket(int domain, int type, int protocol) noexcept {
  return fails(Call::kSocket) ? -1 : original_socket(domain, type, protocol);
}

int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  return fails(Call::kBind) ? -1 : original_bind(fd, address, size);
}

int listen(int fd, int backlog) noexcept {
  return fails(Call::kListen) ? -1 : original_listen(fd, backlog);
}

int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  return fails(Call::kAccept) ? -1 : original_accept4(fd, address, size, flags);
}

ssize_t recv(int fd, void* into, size_t size, int flags) {
  const ssize_t bytes = allowed(Call::kRecv, size);
  return bytes < 0 ? -1 : original_recv(fd, into, static_cast<size_t>(bytes), flags);
}

ssize_t send(int fd, const void* from, size_t size, int flags) {
  const ssize_t bytes = allowed(Call::kSend, size);
  return bytes < 0 ? -1 : original_send(fd, from, static_cast<size_t>(bytes), flags);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  size_t size = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) size += message->msg_iov[i].iov_len;
  const ssize_t bytes = allowed(Call::kSend, size);
  if (bytes < 0) return -1;
  if (static_cast<size_t>(bytes) == size) return original_sendmsg(fd, message, flags);
  for (size_t i = 0; i < message->msg_iovlen; ++i) {
    const iovec& part = message->msg_iov[i];
    if (part.iov_len == 0) continue;
    return original_send(fd, part.iov_base, std::min(static_cast<size_t>(bytes), part.iov_len),
                         flags);
  }
  return 0;
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
  return fails(Call::kSetsockopt) ? -1 : original_setsockopt(fd, level, name, value, size);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
  return fails(Call::kGetsockopt) ? -1 : original_getsockopt(fd, level, name, value, size);
}

int fcntl(int fd, int what, ...) {
  va_list more;
  va_start(more, what);
  void* const argument = va_arg(more, void*);  // an int or a pointer: a register either way
  va_end(more);
  return fails(Call::kFcntl) ? -1 : original_fcntl(fd, what, argument);
}

int epoll_create1(int flags) noexcept {
  return fails(Call::kEpollCreate) ? -1 : original_epoll_create1(flags);
}

int epoll_ctl(int epoll, int what, int fd, epoll_event* event) noexcept {
  return fails(Call::kEpollCtl) ? -1 : original_epoll_ctl(epoll, what, fd, event);
}

int epoll_wait(int epoll, epoll_event* into, int count, int timeout_ms) {
  return fails(Call::kEpollWait) ? -1 : original_epoll_wait(epoll, into, count, timeout_ms);
}

int eventfd(unsigned value, int flags) noexcept {
  return fails(Call::kEventfd) ? -1 : original_eventfd(value, flags);
}

int poll(pollfd* all, nfds_t count, int timeout_ms) {
  return fails(Call::kPoll) ? -1 : original_poll(all, count, timeout_ms);
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = mode_of(flags, more);
  va_end(more);
  return fails(Call::kOpen) ? -1 : original_open(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = mode_of(flags, more);
  va_end(more);
  return fails(Call::kOpen) ? -1 : original_open64(path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = mode_of(flags, more);
  va_end(more);
  return fails(Call::kOpen) ? -1 : original_openat(folder, path, flags, mode);
}

DIR* opendir(const char* path) { return fails(Call::kOpendir) ? nullptr : original_opendir(path); }

ssize_t read(int fd, void* into, size_t size) {
  const ssize_t bytes = allowed(Call::kRead, size);
  return bytes < 0 ? -1 : original_read(fd, into, static_cast<size_t>(bytes));
}

ssize_t write(int fd, const void* from, size_t size) {
  const ssize_t bytes = allowed(Call::kWrite, size);
  return bytes < 0 ? -1 : original_write(fd, from, static_cast<size_t>(bytes));
}

void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  return fails(Call::kMmap) ? MAP_FAILED : original_mmap(at, size, protection, flags, fd, offset);
}

int timer_create(clockid_t clock, sigevent* event, timer_t* timer) noexcept {
  return fails(Call::kTimerCreate) ? -1 : original_timer_create(clock, event, timer);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
  const int error = outcome_of(Call::kPthreadCreate).error;
  return error != 0 ? error : original_pthread_create(thread, attributes, run, argument);
}

void* malloc(size_t bytes) noexcept {
  return fails(Call::kMalloc) ? nullptr : __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) noexcept {
  return fails(Call::kMalloc) ? nullptr : __libc_calloc(count, bytes);
}

void* realloc(void* old, size_t bytes) noexcept {
  return fails(Call::kMalloc) ? nullptr : __libc_realloc(old, bytes);
}

void* memalign(size_t alignment, size_t bytes) noexcept {
  return fails(Call::kMalloc) ? nullptr : __libc_memalign(alignment, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) noexcept { return memalign(alignment, bytes); }

int posix_memalign(void** into, size_t alignment, size_t bytes) noexcept {
  void* const found = memalign(alignment, bytes);
  if (found == nullptr) return ENOMEM;
  *into = found;
  return 0;
}
// NOLINTEND
}
