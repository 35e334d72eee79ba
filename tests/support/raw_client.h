// RawClient: a TCP client that sends exactly the bytes a test wants and reads what comes back.
// Every wait has a limit. Used from one thread at a time; no assertions inside, so it can serve
// worker threads too.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.h"
#include "base/text.h"

namespace vigil::test {

struct RawResponse {
  int status = 0;  // 0: nothing that looks like a response came
  std::string head;
  std::string body;  // de-chunked
  bool complete = false;

  // The value of the first header of that name (lower case), "" if none.
  std::string header(std::string_view name) const {
    std::string lower = head;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const std::size_t at = lower.find("\r\n" + std::string(name) + ": ");
    if (at == std::string::npos) return "";
    const std::size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

class RawClient {
 public:
  static constexpr std::chrono::milliseconds kLimit{10'000};

  // `from`: the local address to bind, such as "127.0.0.2".
  explicit RawClient(const HostPort& server, int receive_buffer_bytes = 0,
                     const char* from = nullptr)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (receive_buffer_bytes > 0) {
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(int));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (from != nullptr) {
      inet_pton(AF_INET, from, &address.sin_addr);
      if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return;
    }
    address.sin_port = htons(server.port);
    inet_pton(AF_INET, server.host.c_str(), &address.sin_addr);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }

  // Through the Unix socket at `path`.
  explicit RawClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }

  virtual ~RawClient() = default;
  RawClient(RawClient&&) = default;
  RawClient& operator=(RawClient&&) = default;

  bool connected() const { return connected_; }
  const UniqueFd& fd() const { return fd_; }
  // close() then resets the connection: neither side keeps it in TIME_WAIT.
  void reset_on_close() {
    const linger off{1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &off, sizeof(off));
  }

  // false when the connection does not take it any more.
  virtual bool send(std::string_view bytes) { return send_raw(bytes); }
  bool send_raw(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

  // The next response, by its framing. `head_request`: it has no body whatever its head says.
  RawResponse read_response(bool head_request = false) {
    RawResponse response;
    std::size_t end;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return response;
    }
    response.head = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    if (response.head.rfind("HTTP/1.", 0) != 0) return response;
    response.status = std::atoi(response.head.c_str() + 9);
    if (head_request || response.status < 200 || response.status == 204 || response.status == 304) {
      response.complete = true;
    } else if (response.header("transfer-encoding") == "chunked") {
      response.complete = read_chunks(response.body);
    } else if (const std::string length = response.header("content-length"); !length.empty()) {
      response.complete = take(std::strtoull(length.c_str(), nullptr, 10), response.body);
    } else {
      while (receive()) {
      }
      response.body.swap(received_);
      response.complete = ended_;
    }
    return response;
  }

  // Whether the server ends the connection within `limit`, having sent nothing more. A reset
  // counts.
  bool closed_within(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!ended_) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !receive(left)) break;
    }
    return ended_ && received_.empty();
  }
  // Everything until the end of the connection.
  std::string read_to_end() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }
  // What has come and was not read yet, else what comes next; empty at the end or after kLimit.
  std::string read_some() {
    if (received_.empty()) receive();
    return std::exchange(received_, {});
  }
  bool ended() const { return ended_; }
  // What has come and was not part of a response that was read.
  std::string take_received() { return std::exchange(received_, {}); }
  // Reads once into the buffer; false at the end or after `limit`.
  bool receive(std::chrono::milliseconds limit = kLimit) { return receive_into(received_, limit); }

 protected:
  // Likewise, into `out`; TlsClient's decrypts.
  virtual bool receive_into(std::string& out, std::chrono::milliseconds limit) {
    return receive_raw(out, limit);
  }
  bool receive_raw(std::string& out, std::chrono::milliseconds limit) {
    pollfd waited{fd_.get(), POLLIN, 0};
    if (::poll(&waited, 1, static_cast<int>(limit.count())) <= 0) return false;
    char bytes[16 * 1024];
    const ssize_t got = ::recv(fd_.get(), bytes, sizeof(bytes), 0);
    if (got <= 0) {
      ended_ = true;
      return false;
    }
    out.append(bytes, static_cast<std::size_t>(got));
    return true;
  }
  void set_ended() { ended_ = true; }

 private:
  bool take(std::size_t size, std::string& out) {
    while (received_.size() < size) {
      if (!receive()) return false;
    }
    out.append(received_, 0, size);
    received_.erase(0, size);
    return true;
  }
  bool read_chunks(std::string& out) {
    while (true) {
      std::size_t end;
      while ((end = received_.find("\r\n")) == std::string::npos) {
        if (!receive()) return false;
      }
      const std::size_t size = std::strtoull(received_.c_str(), nullptr, 16);
      received_.erase(0, end + 2);
      std::string line_end;
      if (!take(size, out) || !take(2, line_end) || line_end != "\r\n") return false;
      if (size == 0) return true;
    }
  }

  UniqueFd fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string received_;
};

}  // namespace vigil::test
