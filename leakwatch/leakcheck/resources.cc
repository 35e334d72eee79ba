#include "leakwatch/leakcheck/resources.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <tuple>

#include <fmt/core.h>

#include "base/socket_address.h"
#include "base/text.h"
#include "leakwatch/leakcheck/posix_timers.h"
#include "sampler/proc_file.h"
#include "sampler/proc_thread.h"

namespace vigil::leakwatch {
namespace {

constexpr std::size_t kChildrenBytesMax = 1024 * 1024;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

std::optional<int> whole_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string address_text(const sockaddr_storage& address, socklen_t length) {
  if (address.ss_family != AF_UNIX) return socket_address_text(address);
  constexpr std::size_t kPathAt = offsetof(sockaddr_un, sun_path);
  if (length <= kPathAt) return "";
  const auto& local = reinterpret_cast<const sockaddr_un&>(address);
  const std::string_view path(local.sun_path, length - kPathAt);
  if (path.front() == '\0') return valid_utf8(fmt::format("@{}", path.substr(1)));
  return valid_utf8(path.substr(0, path.find('\0')));
}

int socket_option(int fd, int option) {
  int value = 0;
  socklen_t length = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : 0;
}

std::string protocol_name(int fd) {
  const int domain = socket_option(fd, SO_DOMAIN);
  const int type = socket_option(fd, SO_TYPE);
  if (domain == AF_UNIX) return "unix";
  if (domain != AF_INET && domain != AF_INET6) return fmt::format("family {}", domain);
  if (type == SOCK_STREAM) return "TCP";
  return type == SOCK_DGRAM ? "UDP" : "raw IP";
}

// "TCP listening at A", "TCP A from B", "TCP, not connected".
std::string socket_name(int fd) {
  std::string name = protocol_name(fd);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const bool is_bound = ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  const std::string local = is_bound ? address_text(address, length) : "";
  if (socket_option(fd, SO_ACCEPTCONN) != 0) return fmt::format("{} listening at {}", name, local);
  length = sizeof(address);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    const std::string peer = address_text(address, length);
    if (local.empty() && peer.empty()) return name + ", a pair";
    return fmt::format("{} {} from {}", name, local, peer);
  }
  return fmt::format("{} {}{}", name, local, local.empty() ? "not connected" : ", not connected");
}

void attach_creations(std::vector<Resource>& resources) {
  for (Resource& resource : resources) {
    resource.creation = find_creation(resource.kind, resource.id);
  }
}

void list_tasks(std::span<TaskRegistry* const> registries, ResourceList& list) {
  for (TaskRegistry* const registry : registries) {
    for (const TaskInfo& task : registry->snapshot()) {
      list.resources.push_back({.kind = ResourceKind::kTask,
                                .id = static_cast<std::uint64_t>(task.id),
                                .birth = fmt::format("{}", static_cast<const void*>(registry)),
                                .name = valid_utf8(task.label),
                                .thread = task.thread,
                                .scope = task.scope});
    }
  }
}

void list_threads(const std::vector<pid_t>& threads, ResourceList& list) {
  for (const pid_t tid : threads) {
    const auto stat = sampler::read_thread_stat(tid);
    if (!stat) continue;  // ended meanwhile
    list.resources.push_back({.kind = ResourceKind::kThread,
                              .id = static_cast<std::uint64_t>(tid),
                              .birth = std::to_string(stat->start_ticks),
                              .name = valid_utf8(stat->name),
                              .thread = tid});
  }
}

void list_descriptors(ResourceList& list) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir("/proc/self/fd"));
  if (folder == nullptr) {
    list.missing.push_back("descriptors: /proc/self/fd cannot be read");
    return;
  }
  std::array<char, 4096> target;
  while (const dirent* entry = ::readdir(folder.get())) {
    const auto fd = whole_number(entry->d_name);
    if (!fd || *fd == ::dirfd(folder.get())) continue;
    const ssize_t size =
        ::readlinkat(::dirfd(folder.get()), entry->d_name, target.data(), target.size());
    if (size < 0) continue;  // closed meanwhile
    const std::string leads_to(target.data(), static_cast<std::size_t>(size));
    const bool is_socket = leads_to.starts_with("socket:[");
    list.resources.push_back({.kind = is_socket ? ResourceKind::kSocket : ResourceKind::kDescriptor,
                              .id = static_cast<std::uint64_t>(*fd),
                              .birth = leads_to,
                              .name = is_socket ? socket_name(*fd) : valid_utf8(leads_to)});
  }
}

void list_timers(ResourceList& list) {
  const auto timers = read_posix_timers();
  if (!timers) {
    list.missing.push_back("timers: " + timers.error().message());
    return;
  }
  for (const PosixTimer& timer : *timers) {
    list.resources.push_back(
        {.kind = ResourceKind::kTimer,
         .id = timer.id,
         .name = fmt::format("of clock {}, notifies {} with signal {}", timer.clock,
                             timer.notify.substr(0, timer.notify.find('/')), timer.signal)});
  }
}

void add_child(pid_t pid, ResourceList& list) {
  const auto text = sampler::read_proc_file(fmt::format("/proc/{}/stat", pid).c_str(),
                                            sampler::kProcFileBytesMax);
  if (!text) return;
  const auto stat = sampler::parse_thread_stat(*text);
  if (!stat) return;
  const bool ended = stat->state == 'Z';
  list.resources.push_back(
      {.kind = ResourceKind::kProcess,
       .id = static_cast<std::uint64_t>(pid),
       .birth = std::to_string(stat->start_ticks),
       .name = valid_utf8(stat->name) + (ended ? ", ended, and nobody has waited for it" : "")});
}

// A child belongs to the thread that forked it, until that ends.
void list_children(const std::vector<pid_t>& threads, ResourceList& list) {
  bool is_known = false;
  for (const pid_t tid : threads) {
    const auto text = sampler::read_proc_file(
        fmt::format("/proc/self/task/{}/children", tid).c_str(), kChildrenBytesMax);
    if (!text) continue;
    is_known = true;
    std::string_view rest = *text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(' '), rest.size());
      if (const auto pid = whole_number(rest.substr(0, end))) add_child(*pid, list);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  if (!is_known) {
    list.missing.push_back("child processes: the kernel has no /proc/self/task/*/children");
  }
}

auto identity(const Resource& resource) {
  return std::tie(resource.kind, resource.id, resource.birth);
}

// The same thing, as far as can be known. Two records of one descriptor number are two openings.
bool is_same(const Resource& a, const Resource& b) {
  if (identity(a) != identity(b)) return false;
  return !a.creation || !b.creation || a.creation->serial == b.creation->serial;
}

}  // namespace

std::string_view resource_kind_name(ResourceKind kind) {
  constexpr std::array<std::string_view, kResourceKinds> kNames = {
      "task", "thread", "descriptor", "socket", "timer", "child process"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string Resource::title() const {
  const std::string_view what = resource_kind_name(kind);
  const bool is_named = kind == ResourceKind::kTask || kind == ResourceKind::kThread;
  return is_named ? fmt::format("{} {} \"{}\"", what, id, name)
                  : fmt::format("{} {} {}", what, id, name);
}

std::optional<ScopeId> Resource::owner() const {
  if (kind == ResourceKind::kTask) return scope;
  if (creation) return creation->scope;
  return std::nullopt;
}

ResourceList list_resources(std::span<TaskRegistry* const> registries) {
  ResourceList list;
  list_tasks(registries, list);
  const auto threads = sampler::list_threads();
  if (threads) {
    list_threads(*threads, list);
    list_children(*threads, list);
  } else {
    list.missing.push_back("threads and child processes: " + threads.error().message());
  }
  list_descriptors(list);
  list_timers(list);
  attach_creations(list.resources);
  sort_resources(list);
  return list;
}

void sort_resources(ResourceList& list) {
  std::sort(list.resources.begin(), list.resources.end(),
            [](const Resource& a, const Resource& b) { return identity(a) < identity(b); });
}

std::vector<Resource> began_since(const ResourceList& before, const ResourceList& now) {
  std::vector<Resource> more;
  for (const Resource& resource : now.resources) {
    const auto known = std::lower_bound(
        before.resources.begin(), before.resources.end(), resource,
        [](const Resource& a, const Resource& b) { return identity(a) < identity(b); });
    const bool is_old = known != before.resources.end() && is_same(*known, resource);
    if (!is_old) more.push_back(resource);
  }
  return more;
}

}  // namespace vigil::leakwatch
