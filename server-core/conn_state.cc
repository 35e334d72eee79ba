#include "server-core/conn_state.h"

namespace vigil::http {

std::string_view conn_state_name(ConnState state) {
  switch (state) {
    case ConnState::kNew:
      return "new";
    case ConnState::kActive:
      return "active";
    case ConnState::kIdle:
      return "idle";
    case ConnState::kHijacked:
      return "hijacked";
    case ConnState::kClosed:
      return "closed";
  }
  return "unknown";
}

}  // namespace vigil::http
