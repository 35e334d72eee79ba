// Http2Memory: what nghttp2 has allocated for one session, so that it can be given back without nghttp2's help.
//
//   Http2Memory memory;
//   nghttp2_mem functions = …;   // each calls the one of the same purpose below
//   nghttp2_session_server_new3(&session, callbacks, user, options, &functions);
//   …
//   if (!memory.failed()) nghttp2_session_del(session);   // else all of it is freed by `memory`
//
// Why: when one of its allocations fails, nghttp2 says NGHTTP2_ERR_NOMEM, and all that may be done with the session then is
// to delete it. In versions before 1.62 (Debian 12 has 1.52) that may end the process: session_attach_stream_item()
// (lib/nghttp2_session.c) leaves stream->item behind when the queue of streams cannot grow, nghttp2_submit_data() frees the
// item, and nghttp2_session_del() frees it once more.
//
// Not thread-safe: as the session. Must outlive it, and stay where it is. Cost: 16 bytes and a few stores an allocation.
#pragma once

#include <cstddef>

namespace vigil::http {

class Http2Memory {
 public:
  Http2Memory() = default;
  // Frees what is left.
  ~Http2Memory();
  Http2Memory(const Http2Memory&) = delete;
  Http2Memory& operator=(const Http2Memory&) = delete;

  // As the functions of the C library, each only for what the others gave.
  void* allocate(std::size_t size) noexcept;
  void* allocate_zeroed(std::size_t count, std::size_t size) noexcept;
  void* reallocate(void* bytes, std::size_t size) noexcept;
  static void release(void* bytes) noexcept;

  // There was no memory for something: the session is in a state that nobody has thought of.
  bool failed() const { return failed_; }

 private:
  // In front of each block, as the list's head: a ring.
  struct alignas(std::max_align_t) Block {
    Block* next;
    Block* previous;
  };

  void* keep(void* memory) noexcept;
  static void leave_ring(const Block& block) noexcept;

  Block ring_{&ring_, &ring_};
  bool failed_ = false;
};

}  // namespace vigil::http
