// ResponseWriter: how a handler answers.
//
//   response.headers().set("Content-Type", "application/json");
//   response.status(201);
//   (void)response.write(body);
//
// The head goes out with the first flush, or when the buffer (32 KiB) is full, or when the handler
// returns. If the whole body is in the buffer by then, the response has a Content-Length; if not,
// it is chunked (in HTTP/1.0: ended by closing the connection). A Content-Length that the handler
// set itself is used, and writing more or less than it cuts the connection, or gives 500
// if nothing is out yet. HEAD, 204 and 304
// responses carry no body: write() takes the bytes and drops them.
//
// A response with a body and without a Content-Type gets the one that content_type.h finds in its
// first 512 bytes, unless it has a Content-Encoding. A handler that wants none sets an empty one.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "server-core/headers.h"
#include "server-core/hijack.h"

namespace vigil::http {

// An interface, so that middleware can wrap it and tests record it. Used by the handler's thread
// only.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  // The response's header fields. Changes after the head is out have no effect; ServerStats counts
  // such responses, and the first one is logged. `Date` is added unless the handler has
  // set one, the framing fields (Connection, Transfer-Encoding, and Content-Length where it is
  // known) always; a Connection: close that the handler sets is obeyed, another (Upgrade) is sent,
  // a Transfer-Encoding is dropped.
  virtual HeaderMap& headers() = 0;

  // The status, 200 if never called. 100..999 without 1xx; another is taken as 500 and logged. No
  // effect once the head is out.
  virtual void status(int code) = 0;

  // Adds to the body. Blocks, until the write deadline, only when the buffer is full and the peer
  // does not take it.
  //   deadline_exceeded   the write deadline passed: the connection is cut
  //   closed              the client is gone, or the server is forced down
  //   invalid_argument    more bytes than the Content-Length that the handler set, with the head
  //   out
  // After an error every call gives it again: a handler that streams should stop.
  virtual Result<void> write(std::string_view bytes) = 0;

  // Sends what has been written so far, the head included. Errors as write().
  virtual Result<void> flush() = 0;

  // Moves this request's deadlines (Go's ResponseController): kNoDeadline for none. The write
  // deadline covers everything up to the response's last byte, the read deadline the rest of the
  // request's body.
  virtual void set_write_deadline(MonotonicTime deadline) = 0;
  virtual void set_read_deadline(MonotonicTime deadline) = 0;

  // Whether the head is out, so that status and headers cannot change any more.
  virtual bool head_sent() const = 0;

  // Forgets the status, the headers and the body that have been written so far, for an answer that
  // replaces them. false, and nothing happens, once the head is out.
  [[nodiscard]] virtual bool reset() = 0;

  // For what measures around a handler: the status as it stands (200 if none was set), and the
  // bytes of body that have been written, before any coding.
  virtual int status_code() const = 0;
  virtual std::uint64_t body_bytes() const = 0;

  // What not every writer can: by default `unsupported`. A wrapper should pass these on
  // (ForwardingResponseWriter does).

  // Sets a field of the trailer section, which follows the body; it makes the response chunked.
  // Before the head is out the name is announced in a Trailer field, unless the handler has set
  // one; a handler that has set one may give the values at any time before it returns.
  //   invalid_argument   the name or value is malformed, or the name means something for framing,
  //                      routing or the content (Content-Length, Host, Content-Type, …)
  //   unsupported        the client speaks HTTP/1.0, there is no body, or the head is out and the
  //                      response is not chunked
  virtual Result<void> set_trailer(std::string_view name, std::string_view value);

  // Sends an informational response at once, before the real one: 102 to 199 except 101, such as
  // 103 (Early Hints) with Link fields. Does nothing for a client that speaks HTTP/1.0.
  //   invalid_argument   another status, or the head is out
  //   others             as write()
  virtual Result<void> inform(int status, const HeaderMap& fields);

  // Takes the connection over (hijack.h). The response is the caller's business from then on:
  // write(), flush() and a second hijack() give `closed`, reading the request's body too.
  //   invalid_argument     something has been written already
  //   closed               hijacked before, or the response has failed
  //   resource_exhausted   no descriptor, or no thread, for it
  // After an error the connection is as it was.
  virtual Result<HijackedConnection> hijack();
};

// Passes everything on to another writer: the base of wrappers, which change what they want.
class ForwardingResponseWriter : public ResponseWriter {
 public:
  // `inner` must outlive this object.
  explicit ForwardingResponseWriter(ResponseWriter& inner) : inner_(inner) {}

  HeaderMap& headers() override { return inner_.headers(); }
  void status(int code) override { inner_.status(code); }
  Result<void> write(std::string_view bytes) override { return inner_.write(bytes); }
  Result<void> flush() override { return inner_.flush(); }
  void set_write_deadline(MonotonicTime deadline) override { inner_.set_write_deadline(deadline); }
  void set_read_deadline(MonotonicTime deadline) override { inner_.set_read_deadline(deadline); }
  bool head_sent() const override { return inner_.head_sent(); }
  bool reset() override { return inner_.reset(); }
  int status_code() const override { return inner_.status_code(); }
  std::uint64_t body_bytes() const override { return inner_.body_bytes(); }
  Result<void> set_trailer(std::string_view name, std::string_view value) override {
    return inner_.set_trailer(name, value);
  }
  Result<void> inform(int status, const HeaderMap& fields) override {
    return inner_.inform(status, fields);
  }
  Result<HijackedConnection> hijack() override { return inner_.hijack(); }

 protected:
  ResponseWriter& inner() { return inner_; }
  const ResponseWriter& inner() const { return inner_; }

 private:
  ResponseWriter& inner_;
};

// "Not Found" for 404; "Unknown" for a code that has no name.
std::string_view status_reason(int code);

// Answers `code` with a short text/plain body: `message` and a line end, or the status's name if it
// is empty. Fields that describe another body (Content-Length, Content-Encoding, ETag, …) are
// removed.
void write_error(ResponseWriter& response, int code, std::string_view message = {});

// The status that answers a failed read of a request's body (Request::read(), read_all(), form()):
//   408   deadline_exceeded      the client was too slow
//   413   resource_exhausted     longer than a limit
//   415   unsupported            form(): not a form
//   400   what else there is     malformed, or the client went away
//
//   if (!form) return write_error(response, body_error_status(form.error()));
int body_error_status(const Error& error);

// Answers with a redirect: `location`, absolute or relative to the request's target, with a code of
// 300 to 399. 303 asks for a GET, whatever the request was; 307 and 308 keep the method. A location
// from outside belongs through percent_encoded_path() (url.h): one with a line end is dropped.
void redirect(ResponseWriter& response, std::string_view location, int code = 302);

// Whether that may be a trailer field; the errors of ResponseWriter::set_trailer(). For writers.
Result<void> check_trailer(std::string_view name, std::string_view value);

}  // namespace vigil::http
