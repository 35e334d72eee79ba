#include "endpoints/tar_gz.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>

#include <cerrno>
#include <utility>

namespace vigil::endpoints {
namespace {

constexpr const char* kLibrary = "libarchive.so.13";
constexpr unsigned kFileMode = 0644;

// The functions that are used, with the types that the header gives them.
struct Library {
  decltype(&archive_write_new) write_new;
  decltype(&archive_write_free) write_free;
  decltype(&archive_write_set_format_ustar) set_format;
  decltype(&archive_write_add_filter_gzip) add_gzip;
  decltype(&archive_write_set_bytes_per_block) set_block;
  decltype(&archive_write_open) open;
  decltype(&archive_write_header) header;
  decltype(&archive_write_data) data;
  decltype(&archive_write_close) close;
  decltype(&archive_error_string) error_string;
  decltype(&archive_entry_new) entry_new;
  decltype(&archive_entry_free) entry_free;
  decltype(&archive_entry_set_pathname) set_pathname;
  decltype(&archive_entry_set_size) set_size;
  decltype(&archive_entry_set_filetype) set_filetype;
  decltype(&archive_entry_set_perm) set_perm;
  decltype(&archive_entry_set_mtime) set_mtime;
};

template <typename Function>
bool find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

bool find_all(void* from, Library& library) {
  return find(from, "archive_write_new", library.write_new) &&
         find(from, "archive_write_free", library.write_free) &&
         find(from, "archive_write_set_format_ustar", library.set_format) &&
         find(from, "archive_write_add_filter_gzip", library.add_gzip) &&
         find(from, "archive_write_set_bytes_per_block", library.set_block) &&
         find(from, "archive_write_open", library.open) &&
         find(from, "archive_write_header", library.header) &&
         find(from, "archive_write_data", library.data) &&
         find(from, "archive_write_close", library.close) &&
         find(from, "archive_error_string", library.error_string) &&
         find(from, "archive_entry_new", library.entry_new) &&
         find(from, "archive_entry_free", library.entry_free) &&
         find(from, "archive_entry_set_pathname", library.set_pathname) &&
         find(from, "archive_entry_set_size", library.set_size) &&
         find(from, "archive_entry_set_filetype", library.set_filetype) &&
         find(from, "archive_entry_set_perm", library.set_perm) &&
         find(from, "archive_entry_set_mtime", library.set_mtime);
}

// Loaded for good: a library that has been used is not worth the risk of unloading it.
Result<Library> load() {
  void* handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  Library library{};
  if (handle == nullptr || !find_all(handle, library)) {
    return Error(ErrorCode::kUnsupported,
                 "a bundle needs libarchive: install the package libarchive13");
  }
  return library;
}

}  // namespace

struct TarGz::Impl {
  Impl(const Library& loaded, PageWriter to) : library(loaded), write(std::move(to)) {}
  // Without finish() nothing more is written, or a broken archive would look like a whole one.
  ~Impl() {
    gone = true;
    if (archive != nullptr) library.write_free(archive);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Error error() const {
    if (gone) return Error(ErrorCode::kClosed, "the receiver of the archive has gone");
    const char* text = library.error_string(archive);
    return Error(ErrorCode::kSystem, text == nullptr ? "libarchive failed" : text);
  }

  static la_ssize_t take(struct archive*, void* self, const void* bytes, std::size_t size) {
    auto& impl = *static_cast<Impl*>(self);
    if (!impl.gone && impl.write({static_cast<const char*>(bytes), size}).ok()) {
      return static_cast<la_ssize_t>(size);
    }
    impl.gone = true;
    errno = EPIPE;
    return -1;
  }

  const Library library;
  PageWriter write;
  struct archive* archive = nullptr;
  bool gone = false;  // the writer has failed
};

TarGz::TarGz(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TarGz::~TarGz() = default;
TarGz::TarGz(TarGz&&) noexcept = default;
TarGz& TarGz::operator=(TarGz&&) noexcept = default;

Result<TarGz> TarGz::create(PageWriter write) {
  Result<Library> library = load();
  if (!library) return std::move(library).error();
  auto impl = std::make_unique<Impl>(*library, std::move(write));
  impl->archive = library->write_new();
  if (impl->archive == nullptr) {
    return Error(ErrorCode::kResourceExhausted, "no memory for an archive");
  }
  // Each file reaches the receiver when it is whole, not when a tape's block of 10 KiB is.
  const bool ready =
      library->add_gzip(impl->archive) == ARCHIVE_OK &&
      library->set_format(impl->archive) == ARCHIVE_OK &&
      library->set_block(impl->archive, 0) == ARCHIVE_OK &&
      library->open(impl->archive, impl.get(), nullptr, &Impl::take, nullptr) == ARCHIVE_OK;
  if (!ready) return impl->error();
  return TarGz(std::move(impl));
}

Result<void> TarGz::add(const std::string& name, std::string_view bytes, WallTime modified) {
  const Library& library = impl_->library;
  const std::unique_ptr<archive_entry, decltype(library.entry_free)> entry(library.entry_new(),
                                                                           library.entry_free);
  if (entry == nullptr) return Error(ErrorCode::kResourceExhausted, "no memory for an archive");
  library.set_pathname(entry.get(), name.c_str());
  library.set_size(entry.get(), static_cast<la_int64_t>(bytes.size()));
  library.set_filetype(entry.get(), AE_IFREG);
  library.set_perm(entry.get(), kFileMode);
  library.set_mtime(
      entry.get(),
      std::chrono::duration_cast<std::chrono::seconds>(modified.time_since_epoch()).count(), 0);
  if (library.header(impl_->archive, entry.get()) != ARCHIVE_OK) return impl_->error();
  if (bytes.empty()) return {};
  const la_ssize_t written = library.data(impl_->archive, bytes.data(), bytes.size());
  if (written != static_cast<la_ssize_t>(bytes.size())) return impl_->error();
  return {};
}

Result<void> TarGz::finish() {
  if (impl_->library.close(impl_->archive) != ARCHIVE_OK) return impl_->error();
  return {};
}

}  // namespace vigil::endpoints
