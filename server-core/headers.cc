#include "server-core/headers.h"

#include <algorithm>
#include <array>

#include "server-core/byte_search.h"

namespace vigil::http {
namespace {

constexpr std::array<bool, 256> token_bytes() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[c] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[c] = true;
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
  return table;
}
constexpr std::array<bool, 256> kTokenBytes = token_bytes();

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && same_without_case(a.data(), b.data(), a.size());
}

bool is_token_byte(char byte) { return kTokenBytes[static_cast<unsigned char>(byte)]; }

bool is_header_name(std::string_view name) {
  for (const char c : name) {
    if (!kTokenBytes[static_cast<unsigned char>(c)]) return false;
  }
  return !name.empty();
}

bool is_header_value(std::string_view value) {
  std::size_t at = find_control(value, 0);
  while (at < value.size() && value[at] == '\t') at = find_control(value, at + 1);
  return at == value.size();
}

bool list_has_token(std::string_view value, std::string_view token) {
  while (true) {
    const std::size_t comma = value.find(',');
    if (equals_ignoring_case(trimmed(value.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) return false;
    value.remove_prefix(comma + 1);
  }
}

std::optional<std::string_view> HeaderList::get(std::string_view name) const {
  for (const HeaderField& field : fields_) {
    if (equals_ignoring_case(field.name, name)) return field.value;
  }
  return std::nullopt;
}

std::size_t HeaderList::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(
      fields_.begin(), fields_.end(),
      [&](const HeaderField& field) { return equals_ignoring_case(field.name, name); }));
}

bool HeaderMap::accept(std::string_view name, std::string_view value) {
  if (is_header_name(name) && is_header_value(value)) return true;
  ++refused_;
  return false;
}

void HeaderMap::set(std::string_view name, std::string_view value) {
  if (!accept(name, value)) return;
  remove(name);
  append(name, value);
}

void HeaderMap::add(std::string_view name, std::string_view value) {
  if (accept(name, value)) append(name, value);
}

void HeaderMap::append(std::string_view name, std::string_view value) {
  ++changes_;
  const auto offset = static_cast<std::uint32_t>(text_.size());
  text_.append(name).append(value);
  entries_.push_back(
      {offset, static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size())});
}

void HeaderMap::remove(std::string_view name) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!equals_ignoring_case(at(i).name, name)) entries_[kept++] = entries_[i];
  }
  changes_ += kept != entries_.size();
  entries_.resize(kept);
}

void HeaderMap::clear() {
  text_.clear();
  entries_.clear();
  refused_ = 0;
  changes_ = 0;
}

std::optional<std::string_view> HeaderMap::get(std::string_view name) const {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const HeaderField field = at(i);
    if (equals_ignoring_case(field.name, name)) return field.value;
  }
  return std::nullopt;
}

HeaderField HeaderMap::at(std::size_t index) const {
  const Entry& entry = entries_[index];
  const std::string_view text = text_;
  return {text.substr(entry.offset, entry.name_size),
          text.substr(entry.offset + entry.name_size, entry.value_size)};
}

}  // namespace vigil::http
