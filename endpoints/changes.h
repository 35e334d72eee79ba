// Whether a POST may change how the process is watched.
#pragma once

#include "base/result.h"
#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// permission_denied: the process was started without permission (Services::changes), or the request
// has no X-Vigil-Change header, which a page of another site cannot send. Pure.
Result<void> may_change(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
