#include "server-core/request.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace vigil::http {

std::string_view http_version_name(HttpVersion version) {
  switch (version) {
    case HttpVersion::kHttp10:
      return "HTTP/1.0";
    case HttpVersion::kHttp11:
      return "HTTP/1.1";
    case HttpVersion::kHttp2:
      break;
  }
  return "HTTP/2.0";
}

bool Request::reset(const Head& head, RequestTransport& transport, MonotonicTime start_time) {
  head_ = head;
  transport_ = &transport;
  start_time_ = start_time;
  query_.reset();
  form_.reset();
  replaced_context_.reset();
  body_bytes_read_ = 0;
  body_bytes_max_.reset();
  body_refused_.reset();
  path_values_count_ = 0;
  route_ = {};
  scope_ = nullptr;
  const std::optional<Target> target = split_target(head.target);
  if (!target) return false;
  target_ = *target;
  if (target_.raw_path == "*" && head.method != "OPTIONS") return false;

  path_ = target_.raw_path;
  if (path_.find('%') != std::string_view::npos) {
    decoded_path_.clear();
    if (!append_percent_decoded(decoded_path_, path_)) return false;
    path_ = decoded_path_;
  }
  host_ = target_.authority.empty() ? head.headers.get("host").value_or("") : target_.authority;
  return true;
}

const QueryParams& Request::query() const {
  if (!query_) query_ = QueryParams::parse(target_.raw_query);
  return *query_;
}

std::optional<std::string_view> Request::path_value(std::string_view name) const {
  for (std::size_t i = 0; i < path_values_count_; ++i) {
    if (path_values_[i].name == name) return path_values_[i].value;
  }
  return std::nullopt;
}

void Request::add_path_value(std::string_view name, std::string_view raw_value) {
  if (path_values_count_ == kPathValuesMax) return;  // the router refuses such patterns
  PathValue& entry = path_values_[path_values_count_++];
  entry.name = name;
  entry.value = raw_value;
  if (raw_value.find('%') != std::string_view::npos) {
    entry.decoded.clear();
    // Cannot fail: reset() has decoded the whole path.
    append_percent_decoded(entry.decoded, raw_value);
    entry.value = entry.decoded;
  }
}

void Request::take_route_of(const Request& other) {
  // Only ever a suffix of the target's own (PathScope).
  path_.remove_prefix(path_.size() - other.path_.size());
  target_.raw_path.remove_prefix(target_.raw_path.size() - other.target_.raw_path.size());
  route_ = other.route_;
  path_values_count_ = other.path_values_count_;
  for (std::size_t i = 0; i < path_values_count_; ++i) {
    path_values_[i].name = other.path_values_[i].name;
    path_values_[i].decoded = other.path_values_[i].value;
    path_values_[i].value = path_values_[i].decoded;
  }
}

Result<std::size_t> Request::read(std::span<char> into) {
  if (body_bytes_max_) return read_limited(into);
  Result<std::size_t> got = transport_->read_body(into);
  if (got) body_bytes_read_ += *got;
  return got;
}

void Request::limit_body(std::uint64_t bytes_max) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t from_first = body_bytes_read_ + std::min(bytes_max, kMax - body_bytes_read_);
  body_bytes_max_ = std::min(from_first, body_bytes_max_.value_or(kMax));
}

Result<std::size_t> Request::read_limited(std::span<char> into) {
  if (body_refused_) return *body_refused_;
  if (into.empty()) return std::size_t{0};
  // The engine has checked that it is a number.
  const std::string_view announced = header("content-length").value_or("0");
  std::uint64_t length = 0;
  std::from_chars(announced.data(), announced.data() + announced.size(), length);
  if (length > *body_bytes_max_) return refuse_body();
  const std::uint64_t left = *body_bytes_max_ - body_bytes_read_;
  // One byte beyond the limit tells a body that is too long from one that just fits.
  if (into.size() > left) into = into.first(left + 1);
  Result<std::size_t> got = transport_->read_body(into);
  if (!got) return got;
  if (*got > left) return refuse_body();
  body_bytes_read_ += *got;
  return got;
}

Error Request::refuse_body() {
  transport_->refuse_body();
  body_refused_ = Error(ErrorCode::kResourceExhausted, "the body is longer than its limit");
  return *body_refused_;
}

Result<const QueryParams*> Request::form(std::size_t max_bytes) {
  if (!form_) form_.emplace(parse_form(max_bytes));
  if (!*form_) return form_->error();
  return &form_->value();
}

bool Request::announces_body() const {
  return head_.body_unannounced || headers().contains("transfer-encoding") ||
         header("content-length").value_or("0") != "0";
}

Result<QueryParams> Request::parse_form(std::size_t max_bytes) {
  const bool has_form = method() == "POST" || method() == "PUT" || method() == "PATCH";
  if (!has_form || !announces_body()) return QueryParams();
  const std::string_view type = header("content-type").value_or("");
  std::string_view media_type = type.substr(0, type.find(';'));
  while (media_type.ends_with(' ') || media_type.ends_with('\t')) media_type.remove_suffix(1);
  if (!equals_ignoring_case(media_type, "application/x-www-form-urlencoded")) {
    return Error(ErrorCode::kUnsupported,
                 "the body is no form: it must be application/x-www-form-urlencoded");
  }
  limit_body(max_bytes);
  Result<std::string> body = read_all(max_bytes);
  if (!body) return std::move(body).error();
  return QueryParams::parse(*body);
}

Result<std::string> Request::read_all(std::size_t max_bytes) {
  constexpr std::size_t kStep = 16 * 1024;
  std::string body;
  while (true) {
    const std::size_t size = body.size();
    // One byte beyond the limit tells a body that is too long from one that just fits.
    const std::size_t step = std::min(kStep, max_bytes - size + 1);
    body.resize(size + step);
    Result<std::size_t> got = read(std::span(body).subspan(size, step));
    if (!got) return std::move(got).error();
    body.resize(size + *got);
    if (*got == 0) return body;
    if (body.size() > max_bytes) {
      return Error(ErrorCode::kResourceExhausted,
                   "the body is longer than " + std::to_string(max_bytes) + " bytes");
    }
  }
}

}  // namespace vigil::http
