#include "server-core/content_type.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace vigil::http {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kHtml = "text/html; charset=utf-8";
constexpr std::string_view kBinary = "application/octet-stream";

bool is_space(char c) { return c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == ' '; }

// --- Markup: behind white space, without regard to case, and a tag ends with a space or ">".

constexpr std::string_view kTags[] = {"<!DOCTYPE HTML",
                                      "<HTML",
                                      "<HEAD",
                                      "<SCRIPT",
                                      "<IFRAME",
                                      "<H1",
                                      "<DIV",
                                      "<FONT",
                                      "<TABLE",
                                      "<A",
                                      "<STYLE",
                                      "<TITLE",
                                      "<B",
                                      "<BODY",
                                      "<BR",
                                      "<P",
                                      "<!--"};

bool begins_ignoring_case(std::string_view bytes, std::string_view upper) {
  if (bytes.size() < upper.size()) return false;
  return std::equal(upper.begin(), upper.end(), bytes.begin(), [](char expected, char c) {
    return expected == (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  });
}

std::string_view detect_markup(std::string_view bytes) {
  if (bytes.starts_with("<?xml")) return "text/xml; charset=utf-8";
  for (std::string_view tag : kTags) {
    if (!begins_ignoring_case(bytes, tag)) continue;
    if (tag == "<!--") return kHtml;
    if (bytes.size() > tag.size() && (bytes[tag.size()] == ' ' || bytes[tag.size()] == '>')) {
      return kHtml;
    }
  }
  return {};
}

// --- Signatures at the first byte.

struct Signature {
  std::string_view bytes;
  std::string_view type;
};
constexpr Signature kSignatures[] = {
    {"%PDF-", "application/pdf"},
    {"%!PS-Adobe-", "application/postscript"},
    {"\xFE\xFF", "text/plain; charset=utf-16be"},
    {"\xFF\xFE", "text/plain; charset=utf-16le"},
    {"\xEF\xBB\xBF", "text/plain; charset=utf-8"},
    {"\x00\x00\x01\x00"sv, "image/x-icon"},
    {"\x00\x00\x02\x00"sv, "image/x-icon"},
    {"BM", "image/bmp"},
    {"GIF87a", "image/gif"},
    {"GIF89a", "image/gif"},
    {"\x89PNG\x0D\x0A\x1A\x0A", "image/png"},
    {"\xFF\xD8\xFF", "image/jpeg"},
    {"ID3", "audio/mpeg"},
    {"OggS\x00"sv, "application/ogg"},
    {"MThd\x00\x00\x00\x06"sv, "audio/midi"},
    {"\x1A\x45\xDF\xA3", "video/webm"},
    {"\x00\x01\x00\x00"sv, "font/ttf"},
    {"OTTO", "font/otf"},
    {"ttcf", "font/collection"},
    {"wOFF", "font/woff"},
    {"wOF2", "font/woff2"},
    {"\x1F\x8B\x08", "application/x-gzip"},
    {"PK\x03\x04", "application/zip"},
    {"Rar!\x1A\x07\x00"sv, "application/x-rar-compressed"},
    {"Rar!\x1A\x07\x01\x00"sv, "application/x-rar-compressed"},
    {"\x00\x61\x73\x6D"sv, "application/wasm"},
};

// Containers: a signature, four bytes of any value, and what is inside.
struct Container {
  std::string_view outer;
  std::string_view inner;  // at the eighth byte
  std::string_view type;
};
constexpr Container kContainers[] = {
    {"RIFF", "WEBPVP", "image/webp"},
    {"RIFF", "AVI ", "video/avi"},
    {"RIFF", "WAVE", "audio/wave"},
    {"FORM", "AIFF", "audio/aiff"},
};

// Which first bytes a signature can have: most bodies are text, and are not compared with any.
constexpr std::array<bool, 256> kSignatureBegins = [] {
  std::array<bool, 256> begins{};
  for (const Signature& signature : kSignatures) {
    begins[static_cast<unsigned char>(signature.bytes[0])] = true;
  }
  for (const Container& container : kContainers) {
    begins[static_cast<unsigned char>(container.outer[0])] = true;
  }
  return begins;
}();

std::string_view detect_signature(std::string_view bytes) {
  for (const Signature& signature : kSignatures) {
    if (bytes.starts_with(signature.bytes)) return signature.type;
  }
  if (bytes.size() < 8) return {};
  for (const Container& container : kContainers) {
    if (bytes.starts_with(container.outer) && bytes.substr(8).starts_with(container.inner)) {
      return container.type;
    }
  }
  return {};
}

// MPEG-4: a first box "ftyp" that has a brand beginning with "mp4" (section 6.2.1).
bool is_mp4(std::string_view bytes) {
  if (bytes.size() < 12 || bytes.substr(4, 4) != "ftyp") return false;
  std::uint32_t box = 0;
  for (char c : bytes.substr(0, 4)) box = box << 8 | static_cast<unsigned char>(c);
  if (bytes.size() < box || box % 4 != 0) return false;
  for (std::size_t at = 8; at + 4 <= box; at += 4) {
    if (at != 12 && bytes.substr(at, 3) == "mp4") return true;  // at 12 is the version
  }
  return false;
}

// --- Text: no byte that no text has (section 3, "binary data byte").

constexpr std::array<bool, 256> kBinaryBytes = [] {
  std::array<bool, 256> binary{};
  for (int c = 0; c < 0x20; ++c) {
    const bool text = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1B;
    binary[static_cast<std::size_t>(c)] = !text;
  }
  return binary;
}();

bool is_text(std::string_view bytes) {
  return std::none_of(bytes.begin(), bytes.end(),
                      [](char c) { return kBinaryBytes[static_cast<unsigned char>(c)]; });
}

// Behind 34 bytes of any value. Both sources take a text with "LP" there for a font; we do not.
bool is_embedded_opentype(std::string_view bytes) {
  return bytes.size() >= 36 && bytes.substr(34, 2) == "LP" && !is_text(bytes.substr(0, 34));
}

}  // namespace

std::string_view detect_content_type(std::string_view bytes) {
  bytes = bytes.substr(0, kSniffBytesMax);
  const auto content = std::find_if_not(bytes.begin(), bytes.end(), is_space);
  if (content != bytes.end() && *content == '<') {
    const auto spaces = static_cast<std::size_t>(content - bytes.begin());
    if (std::string_view type = detect_markup(bytes.substr(spaces)); !type.empty()) return type;
  }
  if (!bytes.empty() && kSignatureBegins[static_cast<unsigned char>(bytes[0])]) {
    if (std::string_view type = detect_signature(bytes); !type.empty()) return type;
  }
  if (is_mp4(bytes)) return "video/mp4";
  if (is_embedded_opentype(bytes)) return "application/vnd.ms-fontobject";
  return is_text(bytes) ? kText : kBinary;
}

}  // namespace vigil::http
