// Header fields: the borrowed list that a request carries, and the owned map that a response is
// built from.
//
//   if (auto type = request.headers().get("content-type")) …
//   response.headers().set("Content-Type", "text/plain; charset=utf-8");
//
// Names compare without regard to case (RFC 9110 §5.1) and keep the spelling and the order in which
// they came.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vigil::http {

// Whether two header names, or two tokens such as "close", are equal without regard to ASCII case.
// Pure.
bool equals_ignoring_case(std::string_view a, std::string_view b);

// Whether `name` is a token (RFC 9110 §5.6.2), that is, may be a header's name.
bool is_header_name(std::string_view name);

// Whether `byte` may be in a token.
bool is_token_byte(char byte);

// Whether `value` can be written as a header's value: no CR, LF, NUL or other control byte except
// HTAB.
bool is_header_value(std::string_view value);

// Whether the comma-separated list `value` has `token` as an element, without regard to case.
bool list_has_token(std::string_view value, std::string_view token);

// One line of a header section. Borrows.
struct HeaderField {
  std::string_view name;
  std::string_view value;  // without the white space around it
};

// A request's header fields, borrowed from the buffer that holds the head: valid while the handler
// runs. Look-ups are linear; a head has at most ServerOptions::max_header_fields of them.
class HeaderList {
 public:
  HeaderList() = default;
  explicit HeaderList(std::span<const HeaderField> fields) : fields_(fields) {}

  // The value of the first field with that name. Fields that may repeat are read by iterating.
  std::optional<std::string_view> get(std::string_view name) const;
  bool contains(std::string_view name) const { return get(name).has_value(); }
  std::size_t count(std::string_view name) const;

  std::size_t size() const { return fields_.size(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::span<const HeaderField> fields_;
};

// An owned, ordered set of header fields. clear() keeps its memory, so a reused map does not
// allocate.
//
// A name that is no token, or a value with CR, LF, NUL or another control byte, would let data
// become protocol (response splitting): such a field is not stored and counted in refused(); the
// engine logs it. Not thread-safe. Views are valid until the next change.
class HeaderMap {
 public:
  // Replaces every field of that name by one. A refused field removes nothing.
  void set(std::string_view name, std::string_view value);
  // Adds a field behind those that are there.
  void add(std::string_view name, std::string_view value);
  // Removes every field of that name.
  void remove(std::string_view name);
  void clear();

  std::optional<std::string_view> get(std::string_view name) const;
  bool contains(std::string_view name) const { return get(name).has_value(); }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  // 0 <= index < size(), in order.
  HeaderField at(std::size_t index) const;

  // Fields that were refused since clear().
  std::uint32_t refused() const { return refused_; }
  // A number that grows with every change since clear().
  std::uint32_t changes() const { return changes_; }

 private:
  struct Entry {
    std::uint32_t offset;
    std::uint32_t name_size;
    std::uint32_t value_size;
  };

  bool accept(std::string_view name, std::string_view value);
  // Behind what is there; accepted.
  void append(std::string_view name, std::string_view value);

  std::string text_;  // names and values, back to back; removed ones stay until clear()
  std::vector<Entry> entries_;
  std::uint32_t refused_ = 0;
  std::uint32_t changes_ = 0;
};

}  // namespace vigil::http
