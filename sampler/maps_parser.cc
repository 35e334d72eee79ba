#include "sampler/maps_parser.h"

#include <charconv>

namespace vigil::sampler {
namespace {

// Takes a hexadecimal or decimal number and the separator after it off the front of `text`.
bool take_number(std::string_view& text, int base, char separator, std::uint64_t& value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || rest == end || *rest != separator) return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()) + 1);
  return true;
}

// The last field before the name; the kernel pads with spaces, and there may be no name.
bool take_inode(std::string_view& text, std::uint64_t& value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, 10);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  const std::size_t name = text.find_first_not_of(' ');
  text.remove_prefix(name == std::string_view::npos ? text.size() : name);
  return true;
}

bool take_permissions(std::string_view& text, MapsEntry& entry) {
  if (text.size() < 5 || text[4] != ' ') return false;
  const auto flag = [&](std::size_t at, char letter, bool& value) {
    value = text[at] == letter;
    return value || text[at] == '-';
  };
  if (!flag(0, 'r', entry.readable) || !flag(1, 'w', entry.writable) ||
      !flag(2, 'x', entry.executable) || (text[3] != 'p' && text[3] != 's')) {
    return false;
  }
  text.remove_prefix(5);
  return true;
}

// seq_file writes a newline inside a name as "\012", and nothing else is escaped.
std::string decode_name(std::string_view name) {
  constexpr std::string_view kNewline = "\\012";
  std::string decoded;
  decoded.reserve(name.size());
  while (!name.empty()) {
    if (name.starts_with(kNewline)) {
      decoded += '\n';
      name.remove_prefix(kNewline.size());
    } else {
      decoded += name.front();
      name.remove_prefix(1);
    }
  }
  return decoded;
}

}  // namespace

std::optional<MapsEntry> parse_maps_line(std::string_view line) {
  MapsEntry entry;
  std::uint64_t major = 0;
  std::uint64_t minor = 0;
  if (!take_number(line, 16, '-', entry.start) || !take_number(line, 16, ' ', entry.end) ||
      !take_permissions(line, entry) || !take_number(line, 16, ' ', entry.file_offset) ||
      !take_number(line, 16, ':', major) || !take_number(line, 16, ' ', minor) ||
      !take_inode(line, entry.inode) || entry.end <= entry.start) {
    return std::nullopt;
  }
  entry.device = major << 32 | minor;
  constexpr std::string_view kDeleted = " (deleted)";
  if (entry.inode != 0 && line.ends_with(kDeleted)) {
    entry.deleted = true;
    line.remove_suffix(kDeleted.size());
  }
  entry.path = decode_name(line);
  return entry;
}

std::vector<MapsEntry> parse_maps(std::string_view text) {
  std::vector<MapsEntry> entries;
  while (true) {
    const std::size_t newline = text.find('\n');
    if (newline == std::string_view::npos) return entries;
    if (auto entry = parse_maps_line(text.substr(0, newline))) entries.push_back(std::move(*entry));
    text.remove_prefix(newline + 1);
  }
}

}  // namespace vigil::sampler
