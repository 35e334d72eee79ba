// How long a client of a debug page may take: the listener's time to read a page that is there. What making it takes is not
// the client's.
//
//     begin ── capture, kPageMakingMax ──▶ made ── the listener's write timeout ──▶ cut
//
//   PageDeadline deadline(response, request, services.clock, std::chrono::seconds(30));
//   const Page page = answer(…);    // 30 s of capture, then what symbols take
//   deadline.made(page);
//   write_page(response, page);
//
// A page that is streamed is made while it is read, and keeps the first deadline. Beyond a deadline the engine cuts the
// connection and asks the handler to stop (Request::stop_token()), as with every response. Where the listener has no write
// timeout there is none here. Used by one thread, within the handler.
#pragma once

#include <chrono>

#include "base/clock.h"
#include "endpoints/page.h"
#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace vigil::endpoints {

// How long a page may take to be made, beyond the seconds of its capture. Nearly all are made in
// milliseconds; the first profile of a program of 500 MB reads symbols for 40 s of CPU, two minutes
// where others have the processors (scripts/bench curves --only=binary).
inline constexpr Duration kPageMakingMax = std::chrono::minutes(5);

class PageDeadline {
 public:
  // Moves the write deadline; `capture`: the seconds that the page takes by itself. `response` and `clock` must outlive it.
  PageDeadline(http::ResponseWriter& response, const http::Request& request, Clock& clock,
               Duration capture)
      : response_(response), clock_(clock), limited_(request.deadline() != kNoDeadline) {
    if (!limited_) return;
    to_read_ = request.deadline() - clock.now();
    response_.set_write_deadline(request.deadline() + capture + kPageMakingMax);
  }

  // Before the page is written: the client's time begins.
  void made(const Page& page) {
    if (limited_ && !page.stream) response_.set_write_deadline(clock_.now() + to_read_);
  }

 private:
  http::ResponseWriter& response_;
  Clock& clock_;
  const bool limited_;
  Duration to_read_{0};
};

}  // namespace vigil::endpoints
