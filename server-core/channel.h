// Channel: what stands between a connection and its socket where the socket's bytes are not the
// protocol's own, as with TLS. A plain connection has none: Connection's I/O is then the system
// calls, behind one comparison.
//
// The calls are those of a non-blocking socket, errno included, so the engine drives both alike,
// but for three things that it has to know:
//
// * Bytes may have left the socket without having been read: no event announces them.
//   has_pending() tells; who stops reading before EAGAIN asks it.
// * Reading may have to wait until the socket takes bytes, and writing until it has some:
//   events_for() tells what to wait for. The poller takes each event of such a connection for both.
// * A send that gave EAGAIN may have been sent in part. The next one begins with the same bytes,
//   wherever they are by then, and has at least as many.
//
// Used by the connection's owner only.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace vigil::http {

struct TlsInfo;

class Channel {
 public:
  virtual ~Channel() = default;

  // As recv(2): the number of bytes; 0 when the peer has said that it will send no more; -1 and
  // errno. EAGAIN: the socket has nothing more. EINTR: try again; what came was not for us. Less
  // than `size` means, as with recv(2), that the socket is empty, unless has_pending() says
  // otherwise. A socket that ends without the peer having said so is an error.
  virtual ssize_t receive(char* into, std::size_t size) = 0;

  // As sendmsg(2) with MSG_NOSIGNAL: the number of bytes that were taken, or -1 and errno.
  virtual ssize_t send(std::span<const iovec> parts) = 0;

  // Whether receive() has something to say although the socket need not have.
  virtual bool has_pending() const = 0;

  // What to poll(2) for after EAGAIN, where a plain socket would wait for `events`.
  virtual short events_for(short events) const = 0;

  // Tells the peer that no more comes, as far as the socket takes it now; for a connection whose
  // last response is out. The socket itself stays open.
  virtual void say_end() = 0;
  // From here on buffers may be kept from call to call, which saves making them for each.
  virtual void keep_buffers() = 0;
  // Gives the buffers back, and keeps none between calls from here on: as at first.
  virtual void release_buffers() = 0;

  // The socket has another number from now on.
  virtual void set_socket(int socket) = 0;

  // The protocol that ALPN has chosen; empty if none. Valid as long as the channel.
  virtual std::string_view protocol() const = 0;
  // What was agreed upon; made at the first call.
  virtual std::shared_ptr<const TlsInfo> tls() = 0;
};

}  // namespace vigil::http
