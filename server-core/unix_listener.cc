#include "server-core/unix_listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

namespace vigil::http {
namespace {

constexpr mode_t kModeOfSocket = 0600;
// Whoever holds the directory's lock does so for some system calls.
constexpr std::chrono::milliseconds kLockTime{2000};
constexpr std::chrono::milliseconds kLockLook{5};

// An absolute path as its directory and the name in it.
struct SplitPath {
  std::string directory;
  std::string name;
};

Result<SplitPath> split(const std::string& path) {
  const auto invalid = [&path](const char* why) {
    return Error(ErrorCode::kInvalidArgument, "Unix socket " + path + ": " + why);
  };
  if (!path.starts_with('/')) return invalid("the path must begin with \"/\"");
  if (path.size() > UnixListener::kPathBytesMax) return invalid("at most 107 bytes");
  if (path.find('\0') != std::string::npos) return invalid("a NUL in it");
  const std::size_t slash = path.rfind('/');
  SplitPath parts{path.substr(0, slash), path.substr(slash + 1)};
  if (parts.name.empty() || parts.name == "." || parts.name == "..") {
    return invalid("no name at its end");
  }
  return parts;
}

// The directory, opened part by part so that no link is followed on the way.
Result<UniqueFd> open_directory(const std::string& directory) {
  UniqueFd at(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string_view rest = directory;
  while (at && !rest.empty()) {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string part(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (part.empty()) continue;
    at.reset(::openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!at && (errno == ENOTDIR || errno == ELOOP)) {
      return Error(ErrorCode::kPermissionDenied,
                   directory + ": \"" + part +
                       "\" is no directory, or a symbolic link to one, and links are not followed: "
                       "give the path that it leads to");
    }
  }
  if (!at) return Error::from_errno("open " + directory, errno);
  return at;
}

// Whether nobody but us and root can exchange files in it.
Result<void> check_directory(int directory, const std::string& name) {
  struct stat found {};
  if (fstat(directory, &found) != 0) return Error::from_errno("stat " + name, errno);
  const bool ours = found.st_uid == geteuid() || found.st_uid == 0;
  const bool others_write = (found.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  const bool sticky = (found.st_mode & S_ISVTX) != 0;
  if (ours && (!others_write || sticky)) return {};
  return Error(ErrorCode::kPermissionDenied,
               name +
                   ": other users can exchange files in this directory: use one that belongs to "
                   "you, with mode 0700");
}

Result<UniqueFd> new_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno("socket", errno);
  return socket;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// 0, or the errno of bind(2). With the mode that the file shall have: bind(2) takes the socket's own.
int bind_private(int socket, const std::string& path) {
  if (fchmod(socket, kModeOfSocket) != 0) return errno;
  const sockaddr_un address = address_of(path);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  return ::bind(socket, raw, sizeof(address)) == 0 ? 0 : errno;
}

// Whether somebody listens at `path`.
Result<bool> answers(const std::string& path) {
  Result<UniqueFd> probe = new_socket();
  if (!probe) return std::move(probe).error();
  const sockaddr_un address = address_of(path);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  // EAGAIN: its backlog is full.
  if (::connect(probe->get(), raw, sizeof(address)) == 0 || errno == EAGAIN) return true;
  if (errno == ECONNREFUSED || errno == ENOENT) return false;
  return Error::from_errno("connect " + path, errno);
}

Error taken_by(const std::string& path, const char* what) {
  return Error(ErrorCode::kPermissionDenied,
               "Unix socket " + path + ": " + what + " stands there, which is not ours to replace");
}

// Removes a socket of ours that nobody listens on; any other thing is an error.
Result<void> remove_stale(int directory, const std::string& path, const std::string& name) {
  struct stat found {};
  if (fstatat(directory, name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return Error::from_errno("stat " + path, errno);
  }
  if (S_ISLNK(found.st_mode)) return taken_by(path, "a symbolic link");
  if (!S_ISSOCK(found.st_mode)) return taken_by(path, "something that is no socket");
  if (found.st_uid != geteuid()) return taken_by(path, "another user's socket");
  const Result<bool> alive = answers(path);
  if (!alive) return alive.error();
  if (*alive) return Error(ErrorCode::kBusy, "Unix socket " + path + ": somebody listens there");
  if (unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
    return Error::from_errno("remove " + path, errno);
  }
  return {};
}

// Holds the directory's lock until it is closed: two processes that look at a stale socket at the
// same time would each remove what the other has just made, and one that is bound but does not
// listen yet looks stale. busy if somebody keeps it for kLockTime.
Result<UniqueFd> lock_directory(int directory, const std::string& path) {
  // A description of its own: the lock goes with it.
  UniqueFd lock(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return Error::from_errno("open the directory of " + path, errno);
  for (auto waited = std::chrono::milliseconds(0); waited < kLockTime; waited += kLockLook) {
    // A file system without locks: then without.
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return lock;
    std::this_thread::sleep_for(kLockLook);
  }
  return Error(ErrorCode::kBusy, "Unix socket " + path + ": its directory is locked by others");
}

// bind(2), after what stood there stale is out of the way, and listen(2).
Result<void> bind_and_listen(int socket, int directory, const std::string& path,
                             const std::string& name, int backlog) {
  const Result<UniqueFd> lock = lock_directory(directory, path);
  if (!lock) return lock.error();
  int error = bind_private(socket, path);
  if (error == EADDRINUSE) {
    if (Result<void> removed = remove_stale(directory, path, name); !removed) return removed;
    error = bind_private(socket, path);
  }
  if (error == EADDRINUSE) return Error(ErrorCode::kBusy, "Unix socket " + path + ": in use");
  if (error != 0) return Error::from_errno("bind " + path, error);
  if (::listen(socket, backlog) != 0) return Error::from_errno("listen on " + path, errno);
  return {};
}

}  // namespace

Result<UnixListener> UnixListener::open(const std::string& path, int backlog) {
  Result<SplitPath> parts = split(path);
  if (!parts) return std::move(parts).error();
  Result<UniqueFd> directory = open_directory(parts->directory);
  if (!directory) return std::move(directory).error();
  if (Result<void> safe = check_directory(directory->get(), parts->directory + "/"); !safe) {
    return std::move(safe).error();
  }
  Result<UniqueFd> socket = new_socket();
  if (!socket) return std::move(socket).error();
  if (Result<void> bound =
          bind_and_listen(socket->get(), directory->get(), path, parts->name, backlog);
      !bound) {
    return std::move(bound).error();
  }
  UnixListener listener;
  listener.socket_ = *std::move(socket);
  listener.directory_ = *std::move(directory);
  listener.path_ = path;
  listener.name_ = std::move(parts->name);
  listener.owner_ = getpid();
  struct stat made {};
  if (fstatat(listener.directory_.get(), listener.name_.c_str(), &made, AT_SYMLINK_NOFOLLOW) != 0) {
    return Error::from_errno("stat " + path, errno);
  }
  if (!S_ISSOCK(made.st_mode) || made.st_uid != geteuid()) return taken_by(path, "another file");
  listener.device_ = made.st_dev;
  listener.inode_ = made.st_ino;
  listener.made_ = made.st_mtim;
  return listener;
}

UnixListener::UnixListener(UnixListener&& other) noexcept { *this = std::move(other); }

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this == &other) return *this;
  close();
  socket_ = std::move(other.socket_);
  directory_ = std::move(other.directory_);
  path_ = std::move(other.path_);
  name_ = std::move(other.name_);
  device_ = other.device_;
  inode_ = std::exchange(other.inode_, 0);
  made_ = other.made_;
  owner_ = other.owner_;
  return *this;
}

void UnixListener::close() {
  if (socket_ && inode_ != 0 && owner_ == getpid()) {
    struct stat found {};
    if (fstatat(directory_.get(), name_.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        found.st_dev == device_ && found.st_ino == inode_ && found.st_mtim.tv_sec == made_.tv_sec &&
        found.st_mtim.tv_nsec == made_.tv_nsec) {
      unlinkat(directory_.get(), name_.c_str(), 0);
    }
  }
  inode_ = 0;
  socket_.reset();
  directory_.reset();
}

}  // namespace vigil::http
