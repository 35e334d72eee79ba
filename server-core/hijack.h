// Hijacking: a handler takes the connection over, for a protocol that HTTP only opens (WebSocket, a
// tunnel).
//
//   void chat(ResponseWriter& response, Request& request) {
//     Result<HijackedConnection> connection = response.hijack();
//     if (!connection) return write_error(response, 501);
//     connection->on_shutdown([fd = connection->fd()] { ::shutdown(fd, SHUT_RD); });
//     … connection->read(buffer, deadline), connection->write(bytes, deadline) …
//   }                                                         // its end closes the connection
//
// The server then has nothing to do with the connection: no deadline, no limit, no event of it; not
// a byte has been sent. It only keeps a list, so that shutdown() can tell the owners, wait for
// them, and close what is left at its deadline.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/text.h"

namespace vigil::http {

class Channel;
class HijackRegistry;
class WebSocketCounters;

// Owns a connection that has left the server. May be kept longer than its handler, and than the
// server. Movable. Not thread-safe, but one thread may be in read(), another in write(), and a third
// may call shutdown(2) on fd() meanwhile: both then return.
class HijackedConnection {
 public:
  HijackedConnection(HijackedConnection&&) noexcept;
  HijackedConnection& operator=(HijackedConnection&& other) noexcept;
  // Leaves the server's list and closes the socket; waits for an on_shutdown() action that runs on
  // another thread.
  ~HijackedConnection();

  // The socket, in blocking mode whatever it was before, without timeouts; -1 after release(). For
  // deadlines: poll(2), or SO_RCVTIMEO and SO_SNDTIMEO.
  // With TLS its bytes are ciphertext: it is good for shutdown(2) and for nothing else.
  int fd() const { return socket_.get(); }
  const HostPort& remote_address() const { return remote_; }

  // The bytes that had been received behind the request's head and were not read as its body; they
  // come before anything that the socket gives. Empty at the second call, and after read().
  std::string take_buffered() { return std::exchange(buffered_, {}); }

  // Waits for the next bytes, at least one, and puts them into `into`, which must not be empty; 0 is
  // the peer's end. What take_buffered() would give comes first.
  //   deadline_exceeded   nothing came until `deadline`; may be called again. With a deadline that
  //                       has passed already it takes what is there without waiting.
  //   closed              the peer has reset the connection, or release() was called; with TLS also:
  //                       it has ended without saying so
  // Cost: one system call if there is something to read; never touches the bytes of a writer.
  Result<std::size_t> read(std::span<char> into, MonotonicTime deadline);

  // Sends all of `bytes`. Never raises SIGPIPE.
  //   deadline_exceeded   the peer did not take all until `deadline`. An unknown part of them is
  //                       out, so nothing sensible can follow: end the connection. With a deadline
  //                       that has passed already it sends what goes without waiting.
  //   closed              the peer is gone, or the connection was shut down or released
  Result<void> write(std::string_view bytes, MonotonicTime deadline);

  // Stopped when the server goes down: end the conversation. What is still open at the shutdown's
  // deadline, or at close(), is shut down under its owner: reads then see the end, writes fail.
  std::stop_token stop_token() const { return stop_token_; }
  // Runs `action` when the server goes down, on the thread that calls shutdown() or close(), or at
  // once if it is going down already: it should be short, such as writing a goodbye or shutdown(2),
  // and must not throw. Replaces an earlier one.
  void on_shutdown(std::function<void()> action);

  // Where a WebSocket on this connection counts; outlives the server. Not after release().
  std::shared_ptr<WebSocketCounters> websocket_counters() const;

  // Gives the bare socket away: the server knows nothing of it any more. With TLS nobody can go on
  // with it.
  UniqueFd release();

 private:
  friend class HijackRegistry;
  struct Secured;

  HijackedConnection();
  ssize_t receive_now(std::span<char> into, short& wait_for_events);
  ssize_t send_now(std::string_view bytes, short& wait_for_events);
  void leave();

  std::shared_ptr<HijackRegistry> registry_;
  std::uint64_t id_ = 0;
  UniqueFd socket_;
  std::unique_ptr<Secured> secured_;  // nullptr without TLS
  std::string buffered_;
  HostPort remote_;
  std::stop_token stop_token_;
  std::unique_ptr<std::stop_callback<std::function<void()>>> action_;
};

// The hijacked connections of one server. For the engine. Thread-safe.
class HijackRegistry : public std::enable_shared_from_this<HijackRegistry> {
 public:
  HijackRegistry();

  // `channel` is taken when nothing can fail any more.
  HijackedConnection add(UniqueFd socket, std::unique_ptr<Channel>& channel, std::string buffered,
                         HostPort remote);
  std::size_t size() const;
  const std::shared_ptr<WebSocketCounters>& websockets() const { return websockets_; }

  // The server goes down: from here on is counted what becomes of the connections, of those that are
  // yet to be hijacked too.
  void begin_shutdown();
  // Tells all owners; runs their actions.
  void tell() { shutdown_.request_stop(); }
  // Waits until no connection is left; false at the deadline.
  bool wait_until_empty(MonotonicTime deadline, Clock& clock);
  // Tells all, and shuts every socket down, also of those that are yet to come.
  void force();

  // What became of the connections since begin_shutdown() or force().
  struct Ends {
    std::uint64_t closed = 0;  // by their owners, in time
    std::uint64_t forced = 0;
  };
  Ends ends() const;

 private:
  friend class HijackedConnection;
  void remove(std::uint64_t id);

  const std::shared_ptr<WebSocketCounters> websockets_;
  std::stop_source shutdown_;
  mutable std::mutex mutex_;
  // All guarded by mutex_.
  std::condition_variable removed_;
  std::map<std::uint64_t, int> sockets_;
  std::uint64_t next_id_ = 1;
  enum class Phase : std::uint8_t { kServing, kGoingDown, kForced } phase_ = Phase::kServing;
  Ends ends_;
};

}  // namespace vigil::http
