#include "endpoints/json_page.h"

#include <nlohmann/json.hpp>

namespace vigil::endpoints {

using nlohmann::ordered_json;

bool wants_json(const PageRequest& request) {
  return request.query.get("format").value_or("") == "json";
}

Page json_page(const ordered_json& document) {
  Page page;
  page.content_type = "application/json";
  page.body = document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  return page;
}

}  // namespace vigil::endpoints
