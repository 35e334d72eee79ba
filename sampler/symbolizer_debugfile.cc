#include "sampler/symbolizer_debugfile.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <vector>

#include <zlib.h>

namespace vigil::sampler {
namespace {

// Larger than any kernel's vdso (8 KiB today): a bound for the copy.
constexpr std::size_t kVdsoBytesMax = 1 << 20;

UniqueFd open_regular(const std::string& path) {
  // O_NONBLOCK: a name that turns out to be a pipe must not hang us.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return UniqueFd();
  return fd;
}

UniqueFd copy_vdso(const Module& module) {
  const std::size_t bytes = module.end - module.start;
  if (bytes == 0 || bytes > kVdsoBytesMax) return UniqueFd();
  std::vector<char> copy(bytes);
  const iovec to{copy.data(), bytes};
  const iovec from{reinterpret_cast<void*>(module.start), bytes};  // NOLINT: an address of ours
  if (::process_vm_readv(::gettid(), &to, 1, &from, 1, 0) != static_cast<ssize_t>(bytes)) {
    return UniqueFd();
  }
  UniqueFd fd(::memfd_create("vigil-vdso", MFD_CLOEXEC));
  if (!fd || ::write(fd.get(), copy.data(), bytes) != static_cast<ssize_t>(bytes))
    return UniqueFd();
  return fd;
}

bool is_mapped_file(const LibdwApi& api, int fd, const Module& module) {
  if (!module.build_id.empty()) return build_id_of(api, fd) == module.build_id;
  // Without a build-id the inode must do. Not the device: stat(2) and maps disagree on overlay file
  // systems.
  struct stat status {};
  return !module.deleted && ::fstat(fd, &status) == 0 && status.st_ino == module.inode;
}

std::uint32_t crc32_of(int fd) {
  std::array<unsigned char, 64 * 1024> buffer;
  uLong crc = ::crc32(0, nullptr, 0);
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n <= 0) return static_cast<std::uint32_t>(crc);
    crc = ::crc32(crc, buffer.data(), static_cast<uInt>(n));
    at += n;
  }
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool same_file(int fd, const std::string& path) {
  struct stat a {};
  struct stat b {};
  return ::fstat(fd, &a) == 0 && ::stat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string build_id_of(const LibdwApi& api, int fd) {
  // MMAP: only the pages of headers and notes are read, whatever the size of the file.
  Elf* elf = api.elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  if (elf == nullptr) return {};
  const void* bytes = nullptr;
  const ssize_t size = api.dwelf_elf_gnu_build_id(elf, &bytes);
  std::string hex;
  if (size > 0) {
    hex = to_hex({static_cast<const char*>(bytes), static_cast<std::size_t>(size)});
  }
  api.elf_end(elf);
  return hex;
}

UniqueFd open_module_file(const LibdwApi& api, const Module& module) {
  if (module.path == "[vdso]") return copy_vdso(module);
  if (!module.path.starts_with('/')) return UniqueFd();
  if (UniqueFd fd = open_regular(module.path); fd && is_mapped_file(api, fd.get(), module)) {
    return fd;
  }
  // The kernel keeps the main program's own file reachable even after it was unlinked.
  return module.is_main ? open_regular("/proc/thread-self/exe") : UniqueFd();
}

bool DebugFileFinder::fits(int fd, const Wanted& wanted) const {
  if (!wanted.build_id.empty()) return build_id_of(api_, fd) == wanted.build_id;
  return wanted.link_crc != 0 && crc32_of(fd) == wanted.link_crc;
}

UniqueFd DebugFileFinder::find(const Wanted& wanted, std::string& path) const {
  std::vector<std::string> candidates;
  if (wanted.build_id.size() > 2 && !debug_root_.empty()) {
    candidates.push_back(debug_root_ + "/.build-id/" + wanted.build_id.substr(0, 2) + "/" +
                         wanted.build_id.substr(2) + ".debug");
  }
  // A link is a file name; one with a slash in it would lead us anywhere.
  if (!wanted.link.empty() && wanted.link.find('/') == std::string::npos) {
    const std::string directory = directory_of(wanted.file);
    candidates.push_back(directory + "/" + wanted.link);
    candidates.push_back(directory + "/.debug/" + wanted.link);
    if (!debug_root_.empty()) candidates.push_back(debug_root_ + directory + "/" + wanted.link);
  }
  for (std::string& candidate : candidates) {
    UniqueFd fd = open_regular(candidate);
    if (!fd || same_file(fd.get(), wanted.file) || !fits(fd.get(), wanted)) continue;
    path = std::move(candidate);
    return fd;
  }
  return UniqueFd();
}

}  // namespace vigil::sampler
