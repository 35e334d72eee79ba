#include "sampler/thread_census.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <utility>

#include "sampler/proc_thread.h"

namespace vigil::sampler {

ThreadCensus::ThreadCensus()
    : directory_(::open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC)),
      last_id_(::open("/proc/sys/kernel/ns_last_pid", O_RDONLY | O_CLOEXEC)) {}

std::optional<ThreadCensus::Count> ThreadCensus::count() const {
  struct stat directory {};
  if (!directory_ || !last_id_ || ::fstat(directory_.get(), &directory) != 0) return std::nullopt;
  char text[32];
  const ssize_t got = ::pread(last_id_.get(), text, sizeof text, 0);
  if (got <= 0) return std::nullopt;
  Count count{directory.st_nlink, 0};
  if (std::from_chars(text, text + got, count.last_id).ec != std::errc()) return std::nullopt;
  return count;
}

bool ThreadCensus::look(MonotonicTime now) {
  // Before the list: what comes after this changes the count that the next look compares with it.
  const std::optional<Count> counted = count();
  if (counted && counted == counted_ && now - listed_ < kListAge) return false;
  Result<std::vector<pid_t>> tids = list_threads();
  if (!tids) return false;
  counted_ = counted;
  listed_ = now;
  return std::exchange(tids_, *std::move(tids)) != tids_;
}

}  // namespace vigil::sampler
