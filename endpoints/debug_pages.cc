#include "endpoints/debug_pages.h"

#include <algorithm>
#include <memory>
#include <new>

#include <fmt/core.h>

#include "endpoints/guard.h"
#include "endpoints/reserves.h"
#include "server-core/headers.h"

namespace vigil {

std::optional<std::string_view> DebugRequest::header(std::string_view name) const {
  const auto field = std::find_if(headers.begin(), headers.end(), [&](const Field& each) {
    return http::equals_ignoring_case(each.first, name);
  });
  if (field == headers.end()) return std::nullopt;
  return field->second;
}

bool is_debug_path(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  if (path.starts_with("/debug/") || path.starts_with("/pprof/")) return true;
  return path == "/symbolz" || path == "/metrics" || path == "/healthz" || path == "/readyz";
}

namespace endpoints {
namespace {

constexpr std::size_t kPostBytesMax = 4 * 1024 * 1024;

// With what memory there is; then, once, with the reserve's.
Page render(const PageEntry& entry, const PageRequest& request, const Services& services) {
  try {
    return entry.render(request, services);
  } catch (const std::bad_alloc&) {
    if (services.reserves == nullptr || !services.reserves->release_memory()) throw;
  }
  Page page = entry.render(request, services);
  services.reserves->restock_memory();
  return page;
}

// What the page still streams keeps its place at the gate.
void hold_while_streaming(Page& page, CaptureGate::Pass pass) {
  if (!page.stream || pass == nullptr) return;
  page.stream = [inner = std::move(page.stream), held = std::shared_ptr(std::move(pass))](
                    const PageWriter& write) { return inner(write); };
}

const PageEntry* find_page(std::string_view path) {
  const auto pages = all_pages();
  const auto found = std::find_if(pages.begin(), pages.end(),
                                  [path](const PageEntry& entry) { return entry.path == path; });
  return found == pages.end() ? nullptr : &*found;
}

bool allows(const PageEntry& entry, std::string_view method) {
  if (method == "GET" || method == "HEAD") return true;
  return method == "POST" && entry.methods == Methods::kGetAndPost;
}

Page method_error(const PageEntry& entry) {
  Page page = error_page(405, "Method Not Allowed");
  page.allow = entry.methods == Methods::kGetAndPost ? "GET, HEAD, POST" : "GET, HEAD";
  return page;
}

// Streams into `body`.
void collect(const Page& page, std::string& body) {
  const Result<void> whole = page.stream([&body](std::string_view bytes) -> Result<void> {
    body += bytes;
    return {};
  });
  (void)whole;  // what is missing has said so inside
}

}  // namespace

bool takes_its_seconds(const PageEntry& entry, const PageRequest& request) {
  if (entry.kind == PageKind::kCapture || entry.kind == PageKind::kRecording) return true;
  return entry.kind == PageKind::kSnapshot && request.query.get("seconds").has_value();
}

Page answer(const PageEntry& entry, const PageRequest& request, const Services& services) {
  try {
    CaptureGate::Pass pass;
    if (takes_its_seconds(entry, request)) {
      Result<CaptureGate::Pass> entered = services.captures.enter();
      if (!entered) return error_page(entered.error());
      pass = *std::move(entered);
    }
    Reserves::Loan loan;
    if (services.reserves != nullptr) loan = services.reserves->lend_descriptors();
    Page page = render(entry, request, services);
    hold_while_streaming(page, std::move(pass));
    return page;
  } catch (const std::bad_alloc&) {
    return error_page(500, "out of memory");
  }
}

std::vector<std::pair<std::string, std::string>> page_headers(const Page& page) {
  std::vector<std::pair<std::string, std::string>> headers = {{"Content-Type", page.content_type},
                                                              {"X-Content-Type-Options", "nosniff"},
                                                              {"Cache-Control", "no-store"}};
  if (page.pprof_error) headers.emplace_back("X-Go-Pprof", "1");
  if (page.status == 401) headers.emplace_back("WWW-Authenticate", "Bearer");
  if (!page.allow.empty()) headers.emplace_back("Allow", page.allow);
  if (!page.attachment.empty()) {
    headers.emplace_back("Content-Disposition",
                         fmt::format("attachment; filename=\"{}\"", page.attachment));
  }
  if (page.content_type.starts_with("text/html")) {
    // Our pages have their style and script inside and load nothing; nor may another page frame
    // them.
    headers.emplace_back("Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; script-src "
                         "'unsafe-inline'; img-src data:; connect-src 'self'; "
                         "frame-ancestors 'none'");
    headers.emplace_back("Referrer-Policy", "no-referrer");
  }
  return headers;
}

Page DebugPages::page_for(const DebugRequest& request) const {
  if (auto refused = refusal({.host = request.header("Host").value_or(""),
                              .origin = request.header("Origin"),
                              .sec_fetch_site = request.header("Sec-Fetch-Site"),
                              .authorization = request.header("Authorization"),
                              .peer = peer_of(request.peer)},
                             token_)) {
    return error_page(refused->status, refused->reason);
  }
  const std::string_view path = request.target.substr(0, request.target.find('?'));
  const std::string_view raw_query =
      request.target.substr(std::min(path.size() + 1, request.target.size()));
  const PageEntry* entry = find_page(path);
  if (entry == nullptr) return unknown_page(path);
  if (!allows(*entry, request.method)) return method_error(*entry);
  if (request.body.size() > kPostBytesMax) return error_page(413, "Content Too Large");
  const std::string client =
      fmt::format("{} {}", request.peer, request.header("User-Agent").value_or(""));
  return answer(*entry,
                {.method = request.method,
                 .path = path,
                 .raw_query = raw_query,
                 .query = http::QueryParams::parse(raw_query),
                 .body = request.body,
                 .change_header = request.header("X-Vigil-Change").value_or(""),
                 .client = client,
                 .stop = request.stop},
                services_);
}

DebugResponse DebugPages::handle(const DebugRequest& request) const try {
  Page page = page_for(request);
  DebugResponse response{.status = page.status, .headers = page_headers(page), .body = {}};
  if (request.method == "HEAD") return response;
  response.body = std::move(page.body);
  if (page.stream) collect(page, response.body);
  return response;
} catch (const std::bad_alloc&) {
  return {.status = 500, .headers = {}, .body = {}};  // without memory for a sentence
}

}  // namespace endpoints
}  // namespace vigil
