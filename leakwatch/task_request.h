// What a task works on: an HTTP request's method, target, id and peer, for those who report about it.
//
//   const TaskRequest about{.method = "GET", .target = target, .descriptor = fd};
//   const Task task(registry, label, {.now = now, .request = &about});
//
// The task lends views of its own memory and copies nothing. A reader copies them with
// process_vm_readv, which cannot fault, and believes the copy only if the task is still alive
// afterwards: until a task's end its request does not change.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vigil::leakwatch {

// Trivially copyable on purpose: readers copy its bytes.
struct TaskRequest {
  std::string_view method;
  std::string_view target;  // as sent, with the query
  std::string_view request_id;
  std::string_view peer;  // "127.0.0.1:4711"; empty: the peer of `descriptor` is asked
  int descriptor = -1;    // the client's socket, open until the task's end; -1: none
  // Our end of the client's connection, written as `peer`: by both it is found where `descriptor` is
  // not known. Empty: whether the client is gone is not asked.
  std::string_view local;
};

// A reader's copy.
struct RequestInfo {
  std::string method;
  std::string target;  // values of the query redacted
  std::string request_id;
  std::string peer;          // empty if it is not known
  bool client_gone = false;  // the client has closed its connection, or reset it

  static constexpr std::size_t kTargetBytesMax = 512;  // longer ones are cut
};

// `target` with "[redacted]" in the place of each value of its query: "/pay?card=[redacted]&x". Pure.
std::string redacted_target(std::string_view target);

// The request that a live task of this process lends; nothing if its memory cannot be read. The
// caller checks that the task is still alive. Cost: two to ten system calls.
std::optional<RequestInfo> read_request(const TaskRequest* request);

}  // namespace vigil::leakwatch
