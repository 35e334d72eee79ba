// What nghttp2 calls, for http2_session.cc only.
#pragma once

#include <cstddef>
#include <cstdint>

#include <nghttp2/nghttp2.h>

namespace vigil::http {

class Http2Session;

struct Http2Callbacks {
  // Made once a process. Throws std::bad_alloc.
  static const nghttp2_session_callbacks* table();
  // The source of a response's body: Http2Stream::out.
  static ssize_t read_out(nghttp2_session* session, std::int32_t id, std::uint8_t* into,
                          std::size_t size, std::uint32_t* flags, nghttp2_data_source* source,
                          void* user);
  static void keep_exception(Http2Session& session);
};

}  // namespace vigil::http
