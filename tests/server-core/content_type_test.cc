#include "server-core/content_type.h"

#include <cctype>
#include <initializer_list>
#include <string>
#include <string_view>

#include "tests/support/catch.h"

using namespace std::string_literals;
using vigil::http::detect_content_type;

namespace {

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kHtml = "text/html; charset=utf-8";
constexpr const char* kBinary = "application/octet-stream";

struct Case {
  std::string bytes;
  std::string type;
};

// In steps: g++ 12 takes some sums of short strings for overflows (PR 105651).
std::string joined(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (std::string_view part : parts) all.append(part);
  return all;
}

// A first box "ftyp" of that size with these brands behind the major one and its version.
std::string mp4(char size, std::string_view major, std::string_view brands) {
  return joined({{"\0\0\0", 3}, {&size, 1}, "ftyp", major, {"\0\0\0\0", 4}, brands});
}

}  // namespace

TEST_CASE("content types by signature") {
  const Case cases[] = {
      {"", kText},
      {"hello, world\n", kText},
      {"{\"a\": 1}", kText},
      {"body { color: red }", kText},
      {"caf\xC3\xA9", kText},
      {"\x1B[1mbold", kText},
      {"\x01\x02\x03", kBinary},
      {"text and \x00"s, kBinary},
      {"<?xml version=\"1.0\"?>", "text/xml; charset=utf-8"},
      {" \n<?xml?>", "text/xml; charset=utf-8"},
      {"<?XML?>", kText},
      {"%PDF-1.7", "application/pdf"},
      {"%!PS-Adobe-3.0", "application/postscript"},
      {"\xFE\xFF\0a"s, "text/plain; charset=utf-16be"},
      {"\xFF\xFE"
       "a\0"s,
       "text/plain; charset=utf-16le"},
      {"\xEF\xBB\xBFtext", kText},
      {"\0\0\1\0\1"s, "image/x-icon"},
      {"\0\0\2\0\1"s, "image/x-icon"},
      {"BM\x10\0"s, "image/bmp"},
      {"GIF87a...", "image/gif"},
      {"GIF89a...", "image/gif"},
      {"GIF88a...", kText},
      {"\x89PNG\r\n\x1A\n\0"s, "image/png"},
      {"\x89PNG\n\x1A\n\0"s, kBinary},
      {"\xFF\xD8\xFF\xE0", "image/jpeg"},
      {"RIFFabcdWEBPVP8 ", "image/webp"},
      {"RIFFabcdWAVEfmt ", "audio/wave"},
      {"RIFFabcdAVI LIST", "video/avi"},
      {"RIFFabcdNONE", kText},
      {"RIFF", kText},
      {"FORMabcdAIFF", "audio/aiff"},
      {"ID3\x03\0\0"s, "audio/mpeg"},
      {"OggS\0\2"s, "application/ogg"},
      {"MThd\0\0\0\6"s, "audio/midi"},
      {"\x1A\x45\xDF\xA3", "video/webm"},
      {mp4(24, "isom", "mp42mp41"), "video/mp4"},
      {mp4(20, "mp42", "isom"), "video/mp4"},
      {mp4(20, "isom", "avc1"), kBinary},
      {mp4(22, "mp42", "isomxx"), kBinary},              // no multiple of four
      {mp4(24, "mp42", "isom").substr(0, 20), kBinary},  // cut short
      {"\0\1\0\0\0\x0F"s, "font/ttf"},
      {"OTTO\0"s, "font/otf"},
      {"ttcf\0"s, "font/collection"},
      {"wOFF\0"s, "font/woff"},
      {"wOF2\0"s, "font/woff2"},
      {joined({std::string(34, '\0'), "LP"}), "application/vnd.ms-fontobject"},
      {joined({std::string(34, 'a'), "LP"}), kText},
      {"\x1F\x8B\x08\0"s, "application/x-gzip"},
      {"PK\3\4", "application/zip"},
      {"Rar!\x1A\7\0"s, "application/x-rar-compressed"},
      {"Rar!\x1A\7\1\0"s, "application/x-rar-compressed"},
      {"\0asm\1"s, "application/wasm"},
  };
  for (const Case& c : cases) {
    INFO(c.bytes.substr(0, 16) << " (" << c.bytes.size() << " bytes)");
    CHECK(detect_content_type(c.bytes) == c.type);
  }
}

TEST_CASE("content types of markup: any case, behind white space, a tag must end") {
  for (const char* tag : {"!DOCTYPE HTML", "HTML", "HEAD", "SCRIPT", "IFRAME", "H1", "DIV", "FONT",
                          "TABLE", "A", "STYLE", "TITLE", "B", "BODY", "BR", "P"}) {
    std::string lower(tag);
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    INFO(tag);
    CHECK(detect_content_type(joined({"<", tag, ">"})) == kHtml);
    CHECK(detect_content_type(joined({"<", lower, " x"})) == kHtml);
    CHECK(detect_content_type(joined({" \t\r\n\f<", lower, ">"})) == kHtml);
    CHECK(detect_content_type(joined({"<", lower, "zz"})) == kText);
    CHECK(detect_content_type(joined({"<", lower})) == kText);
    CHECK(detect_content_type(joined({"x<", lower, ">"})) == kText);
  }
  CHECK(detect_content_type("<!-- x") == kHtml);
  CHECK(detect_content_type("<!-") == kText);
  CHECK(detect_content_type("<") == kText);
}

TEST_CASE("content types look at 512 bytes, and every control byte but five makes data") {
  const std::string text(511, 'a');
  CHECK(detect_content_type(joined({text, "\1"})) == kBinary);
  CHECK(detect_content_type(joined({text, "a\1"})) == kText);
  CHECK(detect_content_type(joined({std::string(511, ' '), "<p>"})) == kText);
  for (int c = 0; c < 256; ++c) {
    const bool data = c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r' && c != 0x1B;
    INFO(c);
    const char byte = static_cast<char>(c);
    CHECK(detect_content_type(joined({"ab", {&byte, 1}})) == (data ? kBinary : kText));
  }
}
