// What a process has that can leak: tasks, threads, descriptors, sockets, timers, child processes.
//
//   const ResourceList before = list_resources(registries);
//   …
//   for (const Resource& more : began_since(before, list_resources(registries))) …
//
// Everything comes from /proc/self and the registries; nothing is asked of the program. Where
// vigil::creation_stacks is linked, each resource carries who created it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "leakwatch/leakcheck/creations.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// "task", "thread", "descriptor", "socket", "timer", "child process".
std::string_view resource_kind_name(ResourceKind kind);
inline constexpr std::size_t kResourceKinds = 6;

struct Resource {
  ResourceKind kind = ResourceKind::kTask;
  std::uint64_t id = 0;  // the task's, the kernel's of a thread, process or timer, a descriptor's
  // Tells two bearers of one id apart: the start time of a thread or process, what a descriptor
  // leads to; empty where ids are not used again.
  std::string birth;
  // For people: a label, a thread's or program's name, a path, "TCP 127.0.0.1:80 from 10.0.0.1:99".
  std::string name;
  // The thread that has it: the task's, or the thread itself; 0 for the others.
  pid_t thread = 0;
  ScopeId scope = ScopeId::kNone;  // of a task
  std::optional<Creation> creation;

  // "thread 4711 \"worker\"".
  std::string title() const;
  // On whose behalf it was created, if that is known.
  std::optional<ScopeId> owner() const;
};

struct ResourceList {
  std::vector<Resource> resources;  // by kind, then id
  // What could not be listed, a sentence each: "timers: …". Loss is data.
  std::vector<std::string> missing;
};

// What the process has now. The calling thread is in it; descriptors that the listing needs are
// not. Not atomic: what begins or ends meanwhile may or may not be there. Thread-safe. Cost: some
// system calls for each thread and descriptor, about 10 us a thread and 3 us a descriptor.
ResourceList list_resources(std::span<TaskRegistry* const> registries);

// Into the order that ResourceList promises.
void sort_resources(ResourceList& list);

// What is in `now` and not in `before`. Pure.
std::vector<Resource> began_since(const ResourceList& before, const ResourceList& now);

}  // namespace vigil::leakwatch
