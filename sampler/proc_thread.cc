#include "sampler/proc_thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>

#include "base/fd.h"

namespace vigil::sampler {
namespace {

// The next field up to a space or the end; empty when there is none.
std::string_view take_field(std::string_view& text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) {
    text = {};
    return {};
  }
  text.remove_prefix(begin);
  const std::string_view field = text.substr(0, text.find(' '));
  text.remove_prefix(field.size());
  return field;
}

template <typename Integer>
std::optional<Integer> number_of(std::string_view text, int base) {
  Integer value{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || rest != text.data() + text.size() || text.empty()) {
    return std::nullopt;
  }
  return value;
}

// "0x1f".
std::optional<std::uint64_t> hex_of(std::string_view text) {
  if (!text.starts_with("0x")) return std::nullopt;
  return number_of<std::uint64_t>(text.substr(2), 16);
}

std::string_view without_newline(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// The value of a line "<key>:<spaces><value>" of `status`; empty if there is no such line.
std::string_view status_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    return line;
  }
  return {};
}

Error read_failed(pid_t tid, const char* file, int error) {
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/" + file;
  if (error == ENOENT || error == ESRCH) {
    return Error(ErrorCode::kNotFound, path + ": the thread is gone");
  }
  return Error::from_errno(path.c_str(), error);
}

UniqueFd open_by_path(pid_t tid, const char* file) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", static_cast<int>(tid), file);
  return UniqueFd(open(path, O_RDONLY | O_CLOEXEC));
}

UniqueFd open_thread_file(pid_t tid, const char* file, const TaskDirectory* directory) {
  return directory != nullptr ? directory->open(tid, file) : open_by_path(tid, file);
}

// One open, one read: the kernel makes these files whole at the first read, up to the buffer's
// size. A dump reads three of them a thread, which is most of its cost.
Result<std::string> read_thread_file(pid_t tid, const char* file,
                                     const TaskDirectory* directory = nullptr) {
  const UniqueFd fd = open_thread_file(tid, file, directory);
  char text[kProcFileBytesMax];
  const ssize_t got = fd ? read(fd.get(), text, sizeof text) : -1;
  if (got >= 0) return std::string(text, static_cast<std::size_t>(got));
  return read_failed(tid, file, errno);
}

// Reads `file` of `tid` and parses it with `parse`, which gives nothing for text of another form.
template <typename Value>
Result<Value> read_parsed(pid_t tid, const char* file,
                          std::optional<Value> (*parse)(std::string_view),
                          const TaskDirectory* directory = nullptr) {
  Result<std::string> text = read_thread_file(tid, file, directory);
  if (!text) return std::move(text).error();
  // A thread that ends between open and read leaves an empty file.
  if (text->empty()) return Error(ErrorCode::kNotFound, std::string(file) + ": the thread is gone");
  std::optional<Value> value = parse(*text);
  if (!value) {
    return Error(ErrorCode::kUnsupported, std::string(file) + ": this kernel writes another form");
  }
  return std::move(*value);
}

}  // namespace

std::optional<ThreadSyscall> parse_thread_syscall(std::string_view text) {
  text = without_newline(text);
  ThreadSyscall call;
  if (text == "running") return call;
  const auto number = number_of<std::int64_t>(take_field(text), 10);
  if (!number) return std::nullopt;
  call.kind = *number < 0 ? ThreadSyscall::Kind::kStopped : ThreadSyscall::Kind::kBlocked;
  call.number = *number < 0 ? -1 : *number;
  if (call.kind == ThreadSyscall::Kind::kBlocked) {
    for (std::uint64_t& arg : call.args) {
      const auto value = hex_of(take_field(text));
      if (!value) return std::nullopt;
      arg = *value;
    }
  }
  const auto sp = hex_of(take_field(text));
  const auto pc = hex_of(take_field(text));
  if (!sp || !pc || !text.empty()) return std::nullopt;
  call.sp = *sp;
  call.pc = *pc;
  return call;
}

std::optional<ThreadStat> parse_thread_stat(std::string_view text) {
  // The name is in parentheses and may contain parentheses, spaces and newlines: the last ')' ends
  // it.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return std::nullopt;
  }
  ThreadStat stat;
  stat.name = std::string(text.substr(open + 1, close - open - 1));
  std::string_view fields = without_newline(text.substr(close + 1));
  const std::string_view state = take_field(fields);
  if (state.size() != 1) return std::nullopt;
  stat.state = state.front();
  // State is field 3, starttime is field 22 (proc(5)).
  constexpr int kBetween = 22 - 3 - 1;
  for (int i = 0; i < kBetween; ++i) take_field(fields);
  const auto start = number_of<std::uint64_t>(take_field(fields), 10);
  if (!start) return std::nullopt;
  stat.start_ticks = *start;
  return stat;
}

std::optional<ThreadStatus> parse_thread_status(std::string_view text) {
  const auto blocked = number_of<std::uint64_t>(status_value(text, "SigBlk"), 16);
  const auto voluntary =
      number_of<std::uint64_t>(status_value(text, "voluntary_ctxt_switches"), 10);
  const auto forced =
      number_of<std::uint64_t>(status_value(text, "nonvoluntary_ctxt_switches"), 10);
  if (!blocked || !voluntary || !forced) return std::nullopt;
  // Absent where the kernel has no seccomp.
  const bool strict = number_of<int>(status_value(text, "Seccomp"), 10) == SECCOMP_MODE_STRICT;
  return ThreadStatus{*blocked, *voluntary + *forced,
                      strict ? ThreadStatus::Calls::kStrict : ThreadStatus::Calls::kAny};
}

std::optional<SchedStat> parse_schedstat(std::string_view text) {
  text = without_newline(text);
  const auto on_cpu_ns = number_of<std::int64_t>(take_field(text), 10);
  const auto queued_ns = number_of<std::int64_t>(take_field(text), 10);
  const auto runs = number_of<std::uint64_t>(take_field(text), 10);
  if (!on_cpu_ns || !queued_ns || !runs || !text.empty()) return std::nullopt;
  if (*on_cpu_ns < 0 || *queued_ns < 0) return std::nullopt;
  return SchedStat{{Duration(*on_cpu_ns), Duration(*queued_ns)}, *runs};
}

std::string parse_wait_channel(std::string_view text) {
  text = without_newline(text);
  return text == "0" ? std::string() : std::string(text);
}

TaskDirectory::TaskDirectory() : fd_(::open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (!fd_) return;
  const UniqueFd witness(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  const UniqueFd file(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!witness || !file) fd_.reset();
}

UniqueFd TaskDirectory::open(pid_t tid, const char* file) const {
  if (!fd_) return open_by_path(tid, file);
  char path[32];
  std::snprintf(path, sizeof path, "%d/%s", static_cast<int>(tid), file);
  return UniqueFd(openat(fd_.get(), path, O_RDONLY | O_CLOEXEC));
}

Result<ThreadSyscall> read_thread_syscall(pid_t tid, const TaskDirectory* directory) {
  return read_parsed(tid, "syscall", &parse_thread_syscall, directory);
}

Result<ThreadStat> read_thread_stat(pid_t tid, const TaskDirectory* directory) {
  return read_parsed(tid, "stat", &parse_thread_stat, directory);
}

Result<SchedStat> read_schedstat(pid_t tid) {
  return read_parsed(tid, "schedstat", &parse_schedstat);
}

Result<ThreadStatus> read_thread_status(pid_t tid) {
  return read_parsed(tid, "status", &parse_thread_status);
}

Result<std::uint64_t> RunWitness::read() {
  times_.reset();
  if (!file_) file_ = open_thread_file(tid_, "schedstat", directory_);
  if (file_) {
    char text[128];
    const ssize_t got = pread(file_.get(), text, sizeof text, 0);
    if (got < 0) return read_failed(tid_, "schedstat", errno);
    const std::string_view seen(text, static_cast<std::size_t>(got));
    const auto stat = parse_schedstat(seen);
    if (stat && stat->is_counted()) {
      times_ = stat->times;
      return stat->runs;
    }
  }
  Result<ThreadStatus> status = read_thread_status(tid_);
  if (!status) return std::move(status).error();
  return status->switches;
}

Result<std::uint64_t> read_run_witness(pid_t tid) { return RunWitness(tid).read(); }

Result<std::string> read_thread_name(pid_t tid) {
  Result<std::string> text = read_thread_file(tid, "comm");
  if (!text) return text;
  return std::string(without_newline(*text));
}

Result<std::string> read_wait_channel(pid_t tid) {
  Result<std::string> text = read_thread_file(tid, "wchan");
  if (!text) return text;
  return parse_wait_channel(*text);
}

Result<std::vector<pid_t>> list_threads() {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/task"), &closedir);
  if (!directory) return Error::from_errno("/proc/self/task", errno);
  std::vector<pid_t> tids;
  while (const dirent* entry = readdir(directory.get())) {
    if (const auto tid = number_of<pid_t>(entry->d_name, 10)) tids.push_back(*tid);
  }
  std::sort(tids.begin(), tids.end());
  return tids;
}

}  // namespace vigil::sampler
