#include "sampler/maps_parser.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

TEST_CASE("a maps line of a file") {
  const auto entry = parse_maps_line(
      "55d0c3a00000-55d0c3a02000 r-xp 00001000 fe:02 1234                       /usr/bin/server");
  REQUIRE(entry);
  CHECK(entry->start == 0x55d0c3a00000);
  CHECK(entry->end == 0x55d0c3a02000);
  CHECK(entry->readable);
  CHECK_FALSE(entry->writable);
  CHECK(entry->executable);
  CHECK(entry->file_offset == 0x1000);
  CHECK(entry->device == (std::uint64_t{0xfe} << 32 | 2));
  CHECK(entry->inode == 1234);
  CHECK(entry->path == "/usr/bin/server");
  CHECK_FALSE(entry->deleted);
}

TEST_CASE("names with spaces, newlines, backslashes and a deleted mark") {
  const auto path_of = [](const std::string& name) {
    return parse_maps_line("1000-2000 r--p 00000000 08:01 7 " + name);
  };
  CHECK(path_of("/tmp/a b  c")->path == "/tmp/a b  c");
  CHECK(path_of("/tmp/a\\012b")->path == "/tmp/a\nb");
  CHECK(path_of("/tmp/a\\b")->path == "/tmp/a\\b");
  CHECK(path_of("/tmp/x (deleted)")->path == "/tmp/x");
  CHECK(path_of("/tmp/x (deleted)")->deleted);
  CHECK(path_of("/tmp/x (deleted) y")->path == "/tmp/x (deleted) y");
  CHECK_FALSE(path_of("/tmp/x (deleted) y")->deleted);
}

TEST_CASE("special and anonymous ranges") {
  CHECK(parse_maps_line("7ffd0000-7ffd2000 rw-p 00000000 00:00 0      [stack]")->path == "[stack]");
  const auto jit = parse_maps_line("7f0000000000-7f0000001000 rwxp 00000000 00:00 0 ");
  REQUIRE(jit);
  CHECK(jit->path.empty());
  CHECK(jit->executable);
  CHECK(parse_maps_line("7f0000000000-7f0000001000 rwxp 00000000 00:00 0")->path.empty());
  CHECK(parse_maps_line("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]")
            ->start == 0xffffffffff600000);
}

TEST_CASE("lines of another form are refused") {
  for (const char* line :
       {"", "x", "1000", "1000-2000", "1000-2000 rwx", "1000-2000 rwzp 0 0:0 0",
        "2000-1000 r--p 0 0:0 0", "1000-1000 r--p 0 0:0 0", "g000-2000 r--p 0 0:0 0",
        "1000-2000 r--p 0 00 0", "11111111111111111-2 r--p 0 0:0 0",
        "1000-2000 r--q 00000000 08:01 7 /x"}) {
    CAPTURE(line);
    CHECK_FALSE(parse_maps_line(line));
  }
}

TEST_CASE("a text cut anywhere gives only whole lines") {
  const std::string text =
      "1000-2000 r--p 00000000 08:01 7 /a\n2000-3000 r-xp 00001000 08:01 7 /a\n";
  const std::size_t first = text.find('\n') + 1;
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::size_t whole = cut == text.size() ? 2 : cut >= first ? 1 : 0;
    CAPTURE(cut);
    CHECK(parse_maps(std::string_view(text).substr(0, cut)).size() == whole);
  }
}

}  // namespace
}  // namespace vigil::sampler
