#include "server-core/tls_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <openssl/err.h>
#include <openssl/x509.h>

namespace vigil::http {
namespace {

// The most that one record carries; what is behind it in small parts is put together up to this, so
// that a head and a short body are one record and one system call.
constexpr std::size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;
// Reads of the socket in one call. Each gives a record or many; a client that sends records without
// data (TLS 1.3 key updates) must not keep the thread.
constexpr std::uint8_t kSocketReadsMax = 16;

}  // namespace

// --- The BIO.

TlsChannel& TlsChannel::of(const SSL* ssl) {
  return *static_cast<TlsChannel*>(BIO_get_data(SSL_get_rbio(ssl)));
}

BioMethodPtr TlsChannel::make_bio_method() {
  BioMethodPtr method(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "vigil socket"));
  if (!method) throw std::bad_alloc();
  BIO_meth_set_read(method.get(), bio_read);
  BIO_meth_set_write(method.get(), bio_write);
  BIO_meth_set_ctrl(method.get(), bio_control);
  return method;
}

long TlsChannel::bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int TlsChannel::bio_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  const int got = static_cast<TlsChannel*>(BIO_get_data(bio))->read_socket(into, size);
  if (got < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  return got;
}

int TlsChannel::bio_write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  const int sent = static_cast<TlsChannel*>(BIO_get_data(bio))->write_socket(from, size);
  if (sent < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return sent;
}

int TlsChannel::read_socket(char* into, int size) {
  if (empty_ || reads_left_ == 0) {
    more_ = !empty_;
    errno = EAGAIN;
    return -1;
  }
  --reads_left_;
  ssize_t got;
  do {
    got = ::recv(socket_, into, static_cast<std::size_t>(size), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  // What comes later has its own event; the end of the peer's side may have had it with these
  // bytes, as with a plain connection (EngineThread::read_and_serve).
  empty_ = got < size;
  if (got > 0 && first_size_ < first_.size()) {
    const std::size_t size_more =
        std::min(static_cast<std::size_t>(got), first_.size() - first_size_);
    std::copy_n(into, size_more, first_.data() + first_size_);
    first_size_ += static_cast<std::uint8_t>(size_more);
    plain_http_ = looks_like_http();
    if (plain_http_) {
      errno = EPROTO;  // else OpenSSL would answer with an alert
      return -1;
    }
  }
  return static_cast<int>(got);
}

int TlsChannel::write_socket(const char* from, int size) {
  ssize_t sent;
  do {
    sent = ::send(socket_, from, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return static_cast<int>(sent);
}

// The beginning of a request line. A TLS record begins with 0x16, then 0x03.
bool TlsChannel::looks_like_http() const {
  constexpr std::string_view kBeginnings[] = {"GET /", "HEAD ", "POST ", "PUT /", "DELET", "OPTIO",
                                              "PATCH", "TRACE", "CONNE", "PRI *", "GET h", "PUT h"};
  if (first_size_ < first_.size()) return false;
  const std::string_view first(first_.data(), first_.size());
  return std::find(std::begin(kBeginnings), std::end(kBeginnings), first) != std::end(kBeginnings);
}

// --- The handshake.

std::unique_ptr<TlsChannel> TlsChannel::open(std::shared_ptr<const TlsSetup> setup, int socket) {
  std::unique_ptr<TlsChannel> channel(new (std::nothrow) TlsChannel(std::move(setup), socket));
  if (!channel) return nullptr;
  channel->ssl_.reset(SSL_new(channel->setup_->contexts.front().get()));
  BIO* bio = channel->ssl_ ? BIO_new(channel->setup_->socket_bio.get()) : nullptr;
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, channel.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(channel->ssl_.get(), bio, bio);
  SSL_set_accept_state(channel->ssl_.get());
  return channel;
}

void TlsChannel::begin_call() {
  ERR_clear_error();
  empty_ = false;
  more_ = false;
  reads_left_ = kSocketReadsMax;
}

TlsChannel::Handshake TlsChannel::fail(std::string reason) {
  input_ = Input::kBroken;
  write_broken_ = true;
  error_ = std::move(reason);
  return Handshake::kFailed;
}

TlsChannel::Handshake TlsChannel::handshake() {
  begin_call();
  read_wants_ = Wants::kNothing;
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    if (has_expired_client()) return fail("the resumed session's client certificate has expired");
    return Handshake::kDone;
  }
  if (plain_http_) return Handshake::kPlainHttp;
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_WRITE) {
    read_wants_ = Wants::kOutput;
    return Handshake::kWait;
  }
  if (error == SSL_ERROR_WANT_READ) return more_ ? Handshake::kMore : Handshake::kWait;
  if (first_size_ == 0) return Handshake::kGone;
  if (error == SSL_ERROR_SYSCALL) return fail(std::strerror(errno));
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return fail("the client closed inside the handshake");
  }
  const long verified = SSL_get_verify_result(ssl_.get());
  std::string reason = take_openssl_error();
  if (verified != X509_V_OK) {
    reason.append(": ").append(X509_verify_cert_error_string(verified));
  }
  return fail(std::move(reason));
}

// A full handshake has looked at it; a ticket only says that one did.
bool TlsChannel::has_expired_client() const {
  if (!resumed()) return false;
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  return certificate != nullptr && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

// --- Data.

void TlsChannel::note_end(int ssl_error) {
  input_ = ssl_error == SSL_ERROR_ZERO_RETURN ? Input::kEnded : Input::kBroken;
  // OpenSSL takes no write after such an error either.
  if (input_ == Input::kBroken) write_broken_ = true;
}

ssize_t TlsChannel::receive(char* into, std::size_t size) {
  if (input_ == Input::kEnded) return 0;
  if (input_ == Input::kBroken) {
    errno = ECONNRESET;
    return -1;
  }
  begin_call();
  std::size_t total = 0;
  while (total < size) {
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), into + total, size - total, &got);
    if (result == 1) {
      total += got;
      if (empty_ && SSL_has_pending(ssl_.get()) == 0) break;
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), result);
    read_wants_ = error == SSL_ERROR_WANT_READ    ? Wants::kInput
                  : error == SSL_ERROR_WANT_WRITE ? Wants::kOutput
                                                  : Wants::kNothing;
    if (read_wants_ == Wants::kNothing) {
      note_end(error);
      return total > 0 ? static_cast<ssize_t>(total) : receive(into, size);
    }
    if (total > 0) break;
    errno = more_ ? EINTR : EAGAIN;
    return -1;
  }
  return static_cast<ssize_t>(total);
}

ssize_t TlsChannel::send(std::span<const iovec> parts) {
  if (write_broken_) {
    errno = EPIPE;
    return -1;
  }
  begin_call();
  std::array<char, kRecordBytes> record;
  const char* from = static_cast<const char*>(parts[0].iov_base);
  std::size_t size = parts[0].iov_len;
  if (parts.size() > 1 && size < record.size()) {
    size = 0;
    for (const iovec& part : parts) {
      const std::size_t fits = std::min(part.iov_len, record.size() - size);
      std::copy_n(static_cast<const char*>(part.iov_base), fits, record.data() + size);
      size += fits;
    }
    from = record.data();
  }
  if (size == 0) return 0;
  std::size_t sent = 0;
  const int result = SSL_write_ex(ssl_.get(), from, size, &sent);
  write_waits_ = false;
  if (result == 1) return static_cast<ssize_t>(sent);
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
    write_waits_ = true;
    write_wants_ = error == SSL_ERROR_WANT_WRITE ? Wants::kOutput : Wants::kInput;
    errno = EAGAIN;
    return -1;
  }
  write_broken_ = true;
  errno = EPIPE;
  return -1;
}

bool TlsChannel::has_pending() const {
  return more_ || input_ != Input::kOpen || SSL_has_pending(ssl_.get()) == 1;
}

short TlsChannel::events_for(short events) const {
  const Wants wants = (events & POLLOUT) != 0 ? write_wants_ : read_wants_;
  if (wants == Wants::kNothing) return events;
  return wants == Wants::kInput ? POLLIN : POLLOUT;
}

void TlsChannel::say_end() {
  if (write_broken_ || write_waits_ || SSL_is_init_finished(ssl_.get()) == 0) return;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_.get());
  ERR_clear_error();
  write_broken_ = true;  // nothing may follow
}

void TlsChannel::keep_buffers() { SSL_clear_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS); }

// A record that is there in part keeps its buffer until it has been read or written.
void TlsChannel::release_buffers() {
  SSL_set_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS);
  (void)SSL_free_buffers(ssl_.get());
}

// --- What was agreed upon.

std::string_view TlsChannel::protocol() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

namespace {

std::string subject_of(const X509* certificate) {
  std::unique_ptr<BIO, OpenSslFree<BIO_free_all>> text(BIO_new(BIO_s_mem()));
  if (!text) throw std::bad_alloc();
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* begin = nullptr;
  const long size = BIO_get_mem_data(text.get(), &begin);
  return {begin, static_cast<std::size_t>(size)};
}

}  // namespace

std::shared_ptr<const TlsInfo> TlsChannel::tls() {
  if (info_ || SSL_is_init_finished(ssl_.get()) == 0) return info_;
  auto info = std::make_shared<TlsInfo>();
  info->version = SSL_get_version(ssl_.get());
  info->cipher = SSL_get_cipher_name(ssl_.get());
  info->protocol = protocol();
  const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  if (name != nullptr) info->server_name = name;
  const X509* client = SSL_get0_peer_certificate(ssl_.get());
  if (client != nullptr && SSL_get_verify_result(ssl_.get()) == X509_V_OK) {
    info->client_subject = subject_of(client);
  }
  info->handshake = resumed() ? TlsInfo::Handshake::kResumed : TlsInfo::Handshake::kFull;
  info_ = std::move(info);
  return info_;
}

}  // namespace vigil::http
