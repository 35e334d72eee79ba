// UnixListener: a listening Unix socket in the file system that only its owner can reach.
//
//   Result<UnixListener> opened = UnixListener::open("/run/search/debug.sock", backlog);
//   if (!opened) return std::move(opened).error().with_context("cannot start the debug listener");
//   accept4(opened->fd(), …)
//
// A file in a directory is reachable by whoever may write there, so nothing about the path is taken
// on trust:
//
//   * The directory is reached without following a symbolic link, in any of its parts.
//   * It may not be writable by others, unless it is sticky (/tmp): else somebody could put another
//     file in our place.
//   * What stands at the path is replaced only if it is a socket, belongs to us, and nobody listens
//     on it: what a process leaves that was killed. Never a file, a link, or another user's socket.
//   * The socket has mode 0600 from the moment that it is there: it is given to the socket before
//     bind(2), because the umask belongs to the whole process.
//   * It is removed when the listener is closed, if it is still the one that was made here, and not
//     by a child of fork(2).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <ctime>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace vigil::http {

// Movable, not copyable. Not thread-safe.
class UnixListener {
 public:
  // Longer paths have no place in sockaddr_un.
  static constexpr std::size_t kPathBytesMax = 107;

  UnixListener() = default;  // none

  // Binds and listens. `path`: absolute.
  //   invalid_argument    not absolute, too long, or without a name at its end
  //   not_found           the directory is not there
  //   permission_denied   a link on the way, a directory that others can write, a file in the place,
  //                       or another user's socket; the sentence says which
  //   busy                somebody listens there
  //   system, …           another failed call, named
  static Result<UnixListener> open(const std::string& path, int backlog);

  // close().
  ~UnixListener() { close(); }
  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&& other) noexcept;

  explicit operator bool() const { return static_cast<bool>(socket_); }
  int fd() const { return socket_.get(); }
  const std::string& path() const { return path_; }

  // Closes the socket and removes its file.
  void close();

 private:
  UniqueFd socket_;
  UniqueFd directory_;
  std::string path_;
  std::string name_;  // inside directory_
  dev_t device_ = 0;  // of the file that bind(2) made
  ino_t inode_ = 0;
  timespec made_{};  // its time: a number may be given to another file
  pid_t owner_ = 0;
};

}  // namespace vigil::http
