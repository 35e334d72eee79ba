#include "leakwatch/task_request.h"

#include <algorithm>
#include <span>

#include "base/socket_address.h"
#include "base/text.h"
#include "leakwatch/client_connection.h"
#include "sampler/memory_reader.h"

namespace vigil::leakwatch {
namespace {

constexpr std::size_t kTextBytesMax = 128;

std::string copy_of(std::string_view lent, std::size_t bytes_max) {
  std::string text(std::min(lent.size(), bytes_max), '\0');
  const auto into = std::as_writable_bytes(std::span(text.data(), text.size()));
  if (!sampler::read_memory(reinterpret_cast<std::uintptr_t>(lent.data()), into)) return "";
  return valid_utf8(text);
}

}  // namespace

std::string redacted_target(std::string_view target) {
  const std::size_t question = target.find('?');
  std::string text(target.substr(0, question));
  if (question == std::string_view::npos) return text;
  std::string_view query = target.substr(question + 1);
  char separator = '?';
  for (;;) {
    const std::string_view field = query.substr(0, query.find('&'));
    const std::size_t equals = field.find('=');
    text.append(1, separator).append(field.substr(0, equals));
    if (equals != std::string_view::npos) text += "=[redacted]";
    if (field.size() == query.size()) return text;
    query.remove_prefix(field.size() + 1);
    separator = '&';
  }
}

std::optional<RequestInfo> read_request(const TaskRequest* request) {
  const auto lent = sampler::read_object<TaskRequest>(reinterpret_cast<std::uintptr_t>(request));
  if (!lent) return std::nullopt;
  RequestInfo info;
  info.method = copy_of(lent->method, kTextBytesMax);
  // Cut first: what is redacted must not depend on how much of a value was left.
  info.target = redacted_target(copy_of(lent->target, RequestInfo::kTargetBytesMax));
  info.request_id = copy_of(lent->request_id, kTextBytesMax);
  info.peer = copy_of(lent->peer, kTextBytesMax);
  if (lent->descriptor >= 0) {
    if (info.peer.empty()) info.peer = socket_peer_text(lent->descriptor);
    info.client_gone = client_is_gone(lent->descriptor);
  } else if (!lent->local.empty()) {
    info.client_gone = client_is_gone(copy_of(lent->local, kTextBytesMax), info.peer);
  }
  return info;
}

}  // namespace vigil::leakwatch
