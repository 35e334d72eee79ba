// Stripped, split, replaced and deleted files, with copies of tests/fixtures/symbol_fixture.cc that
// CMake makes.
#include <dlfcn.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "sampler/demangle.h"
#include "sampler/symbolizer.h"
#include "tests/support/catch.h"
#include "tests/support/no_descriptors.h"

namespace vigil::sampler {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = VIGIL_FIXTURE_DIR;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "vigil-symbols-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// A loaded copy of the fixture; unloaded at the end.
class Library {
 public:
  explicit Library(const fs::path& path) : handle_(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE(handle_ != nullptr);
  }
  ~Library() { ::dlclose(handle_); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  std::uintptr_t hidden() const { return ask("fixture_hidden_address"); }
  std::uintptr_t exported() const { return ask("fixture_exported_address"); }

 private:
  std::uintptr_t ask(const char* name) const {
    const auto function = reinterpret_cast<void* (*)()>(::dlsym(handle_, name));
    REQUIRE(function != nullptr);
    return reinterpret_cast<std::uintptr_t>(function());
  }
  void* handle_;
};

// What the symbolizer says about an address: "name file:line", "name" without a file, "" without
// anything.
std::string ask(std::uintptr_t address, SymbolizerOptions options = {}) {
  auto symbolizer = Symbolizer::create(std::move(options));
  REQUIRE(symbolizer);
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  const auto where = (*symbolizer)->symbolize(FrameAddress::instruction(address), **table);
  if (!where.known()) return "";
  const SourceFrame& frame = where.frames().back();
  if (frame.function->file.empty()) return frame.function->name;
  return frame.function->name + " " + fs::path(frame.function->file).filename().string() + ":" +
         std::to_string(frame.line);
}

const std::string kHidden = "fixture::(anonymous namespace)::hidden";
// The first instruction is that of the function's asm statement, or its opening line.
const std::string kHiddenAt = kHidden + " symbol_fixture.cc:8";
const std::string kExported = "fixture::exported";

}  // namespace

TEST_CASE("symbol files: full debug information") {
  const Library library(kFixtures / "libsymbol_fixture.so");
  CHECK(ask(library.hidden()) == kHiddenAt);
  CHECK(ask(library.exported()).starts_with(kExported + " symbol_fixture.cc:"));
}

TEST_CASE("symbol files: without .debug_aranges, as clang writes them") {
  const Library library(kFixtures / "libsymbol_fixture_noaranges.so");
  CHECK(ask(library.hidden()) == kHiddenAt);
}

TEST_CASE("symbol files: stripped, with a debuglink beside it") {
  const Library library(kFixtures / "libsymbol_fixture_link.so");
  CHECK(ask(library.hidden()) == kHiddenAt);
}

TEST_CASE("symbol files: stripped, with a debug file found by build-id") {
  const TemporaryDirectory root;
  const Library library(kFixtures / "libsymbol_fixture_bare.so");
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  const Module* module = (*table)->find(library.hidden());
  REQUIRE(module != nullptr);
  REQUIRE(module->build_id.size() == 40);
  const fs::path folder = root.path() / ".build-id" / module->build_id.substr(0, 2);
  fs::create_directories(folder);
  fs::copy_file(kFixtures / "symbol_fixture.debug",
                folder / (module->build_id.substr(2) + ".debug"));
  SymbolizerOptions options;
  options.debug_root = root.path();
  CHECK(ask(library.hidden(), options) == kHiddenAt);
}

TEST_CASE("symbol files: a debug file of another build is not used") {
  const TemporaryDirectory folder;
  const fs::path copy = folder.path() / "libsymbol_fixture_link.so";
  fs::copy_file(kFixtures / "libsymbol_fixture_link.so", copy);
  fs::copy_file(kFixtures / "symbol_fixture_other.debug", folder.path() / "symbol_fixture.debug");
  const Library library(copy);
  CHECK(ask(library.hidden()).empty());
  CHECK(ask(library.exported()) == kExported);
}

TEST_CASE("symbol files: stripped bare, exported names remain and no others are made up") {
  const Library library(kFixtures / "libsymbol_fixture_bare.so");
  CHECK(ask(library.exported()) == kExported);
  CHECK(ask(library.hidden()).empty());
}

TEST_CASE("symbol files: a file that was replaced after loading is not used") {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "libplugin.so";
  fs::copy_file(kFixtures / "libsymbol_fixture.so", path);
  const Library library(path);
  CHECK(ask(library.exported()).starts_with(kExported));
  fs::copy_file(kFixtures / "libsymbol_fixture_other.so", folder.path() / "new");
  fs::rename(folder.path() / "new", path);
  CHECK(ask(library.exported()).empty());
}

TEST_CASE("symbol files: a file that was deleted, or is damaged, gives no frames") {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "libplugin.so";
  fs::copy_file(kFixtures / "libsymbol_fixture.so", path);
  const Library library(path);
  fs::remove(path);
  CHECK(ask(library.exported()).empty());
  std::ofstream(path) << "\x7f"
                         "ELF, but not really";
  CHECK(ask(library.exported()).empty());
}

TEST_CASE("symbol files: a file replaced by the same build is used") {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "libplugin.so";
  fs::copy_file(kFixtures / "libsymbol_fixture.so", path);
  const Library library(path);
  fs::copy_file(kFixtures / "libsymbol_fixture.so", folder.path() / "new");
  fs::rename(folder.path() / "new", path);
  CHECK(ask(library.exported()).starts_with(kExported));
}

TEST_CASE("symbol files: answers for an unloaded library stay right when another takes its place") {
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  Modules modules;
  std::shared_ptr<const ModuleTable> then;
  std::uintptr_t address = 0;
  {
    const Library library(kFixtures / "libsymbol_fixture.so");
    const auto table = modules.refresh();
    REQUIRE(table);
    then = *table;
    address = library.hidden();
  }
  const Library other(kFixtures / "libsymbol_fixture_other.so");
  const auto where = (*symbolizer)->symbolize(FrameAddress::instruction(address), *then);
  REQUIRE(where.known());
  CHECK(where.frames().back().function->name == kHidden);
}

TEST_CASE("symbol files: two descriptors serve any number of modules, and none is not for ever") {
  const Library library(kFixtures / "libsymbol_fixture.so");
  const Library stripped(kFixtures / "libsymbol_fixture_link.so");
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  const auto name_at = [&](std::uintptr_t address) {
    const auto where = (*symbolizer)->symbolize(FrameAddress::instruction(address), **table);
    return where.known() ? where.frames().back().function->name : "";
  };
  const auto in_libc =
      reinterpret_cast<std::uintptr_t>(::dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));
  test::NoDescriptors none;
  CHECK(name_at(library.hidden()) == "");
  CHECK((*symbolizer)->stats().modules_rejected == 0);
  none.give_back_one();
  none.give_back_one();
  CHECK(name_at(library.hidden()) == kHidden);
  CHECK(name_at(in_libc).ends_with("gnu_get_libc_version"));
  CHECK(name_at(stripped.hidden()) == kHidden);
  // Opened again, for an address that has not been asked for yet.
  CHECK(name_at(library.exported()) == kExported);
  CHECK((*symbolizer)->stats().modules_rejected == 0);
}

}  // namespace vigil::sampler
