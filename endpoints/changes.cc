#include "endpoints/changes.h"

namespace vigil::endpoints {

Result<void> may_change(const PageRequest& request, const Services& services) {
  if (services.changes == Changes::kRefused) {
    return Error(
        ErrorCode::kPermissionDenied,
        "this process was started without permission to change it through its debug pages");
  }
  // A page of another site can send a form here, but not with a header of its own.
  if (request.change_header.empty()) {
    return Error(ErrorCode::kPermissionDenied, "changes need the header X-Vigil-Change: 1");
  }
  return {};
}

}  // namespace vigil::endpoints
