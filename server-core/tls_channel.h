// TlsChannel: TLS on one connection's socket, by OpenSSL. It reads and writes the socket only when
// it is called, and never waits.
//
//   auto channel = TlsChannel::open(tls.setup(), socket);
//   … each time the socket has news, until it says kDone:  channel->handshake()
//   … then Channel's calls.
//
// One BIO of ours is between OpenSSL and the socket: its writes raise no SIGPIPE, it does not ask
// the socket again once that was found empty (one system call for a request's record, as without
// TLS), it sees whether the client speaks HTTP instead of TLS, and it lets nobody keep a thread
// with records that are of no use to us.
//
// Between requests it holds no buffer, unless it is told to keep them. Not thread-safe: the
// connection's owner's.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <openssl/ssl.h>

#include "server-core/channel.h"
#include "server-core/tls.h"
#include "server-core/tls_setup.h"

namespace vigil::http {

class TlsChannel final : public Channel {
 public:
  enum class Handshake : std::uint8_t {
    kWait,       // the socket's next event brings it on
    kMore,       // likewise, but the socket is not empty: call again when others have had a turn
    kDone,       // Channel's calls may be used
    kFailed,     // error() says why; the client has been told
    kPlainHttp,  // what came is HTTP without TLS; not a byte was answered
    kGone,       // the client left without a byte
  };

  // nullptr where there is no memory for it.
  static std::unique_ptr<TlsChannel> open(std::shared_ptr<const TlsSetup> setup, int socket);

  Handshake handshake();
  const std::string& error() const { return error_; }
  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }

  ssize_t receive(char* into, std::size_t size) override;
  ssize_t send(std::span<const iovec> parts) override;
  bool has_pending() const override;
  short events_for(short events) const override;
  void say_end() override;
  void keep_buffers() override;
  void release_buffers() override;
  void set_socket(int socket) override { socket_ = socket; }
  std::string_view protocol() const override;
  std::shared_ptr<const TlsInfo> tls() override;

  // For the callbacks of OpenSSL.
  static TlsChannel& of(const SSL* ssl);
  static BioMethodPtr make_bio_method();
  const TlsSetup& setup() const { return *setup_; }

 private:
  // What the peer has said of its sending side.
  enum class Input : std::uint8_t { kOpen, kEnded, kBroken };
  // What the socket has to do before the last call that gave EAGAIN can go on.
  enum class Wants : std::uint8_t { kNothing, kInput, kOutput };

  TlsChannel(std::shared_ptr<const TlsSetup> setup, int socket)
      : setup_(std::move(setup)), socket_(socket) {}

  void begin_call();
  void note_end(int ssl_error);
  bool looks_like_http() const;
  bool has_expired_client() const;
  Handshake fail(std::string reason);

  int read_socket(char* into, int size);
  int write_socket(const char* from, int size);
  static int bio_read(BIO* bio, char* into, int size);
  static int bio_write(BIO* bio, const char* from, int size);
  static long bio_control(BIO* bio, int command, long number, void* pointer);

  std::shared_ptr<const TlsSetup> setup_;
  SslPtr ssl_;
  std::shared_ptr<const TlsInfo> info_;  // made when somebody asks
  std::string error_;
  int socket_;
  std::array<char, 5> first_{};  // what the client's first bytes were
  std::uint8_t first_size_ = 0;
  std::uint8_t reads_left_ = 0;  // of the socket, in this call
  bool empty_ = false;           // the socket, as found in this call
  bool more_ = false;            // the last call has not looked at all there is
  bool plain_http_ = false;
  bool write_waits_ = false;  // a record is out in part
  bool write_broken_ = false;
  Input input_ = Input::kOpen;
  Wants read_wants_ = Wants::kNothing;
  Wants write_wants_ = Wants::kNothing;
};

}  // namespace vigil::http
