// ServerOptions for the three classic kinds of service: start from one, then set what is your own.
//
//   ServerOptions options = json_api();
//   options.listen = {"0.0.0.0", 8080};
//
// All of them protect from slow heads (slowloris: read_header_timeout), from idle connections that
// pile up (idle_timeout), and from heads that fill memory. They differ in what a body and a
// response may take, because that is what a slow or hostile client can hold on to.
#pragma once

#include "server-core/server_options.h"

namespace vigil::http {

// Small requests, small responses, both soon: a JSON or RPC service, a form.
//   read_header 5 s, read 10 s   a body that drips holds its connection, and no thread (bodies up
//   to
//                                64 KiB are collected before the handler runs)
//   write 15 s                   a handler that hangs on its database and a client that does not
//                                read: both end here, with the handler's token stopped
//   body 1 MiB                   no request is worth more memory
//   idle 60 s
ServerOptions json_api();

// Large bodies that take long to arrive: files, backups, images.
//   read 10 min, write 10 min    the longest that a client may take, and so the longest that a
//                                stalled one holds a thread. A handler does better by moving its
//                                deadlines while there is progress, for both directions:
//                                    response.set_read_deadline(now + 30s);   // before each read
//                                    response.set_write_deadline(now + 60s);  // covers the whole
//                                Then a stalled client is gone in 30 s and an honest slow one may
//                                take hours.
//   read_header 10 s             the head is small whatever follows: slowloris gets nowhere
//   body 4 GiB                   beyond it 413; a handler wants less with Request::limit_body()
//   in flight 1,024              uploads at once, each holds a thread; what is over it gets 503
//   idle 60 s
ServerOptions upload();

// Responses that do not end by themselves: server-sent events, long polls, downloads.
//   write none                   a stream lives as long as its client. The token tells the handler
//                                when that goes away. A client that stays and does not read holds
//                                the handler in write(): move the deadline before each one:
//                                    response.set_write_deadline(now + 10s);
//   read_header 5 s, read 10 s   requests are small and come at once
//   body 1 MiB
//   idle 120 s                   clients come back for the next poll
//   in flight 10,000             each stream holds a thread; keep max_threads above it
ServerOptions streaming();

}  // namespace vigil::http
