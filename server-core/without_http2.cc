// A server that speaks HTTP/1.1 alone, for programs that must not carry nghttp2: linked in front of the library, it
// stands for serve_http2.cc and http2_*.cc. ServerOptions::http2_cleartext means nothing then; with without_tls.cc there
// is no ALPN to ask for HTTP/2 either, so no connection ever gets into kMultiplexed.
#include "server-core/connection.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"
#include "server-core/http2_exchange.h"

namespace vigil::http {

void EngineThread::Http2ExchangeDelete::operator()(Http2Exchange*) const noexcept {}

EngineThread::Preface EngineThread::compare_with_preface(const Connection&,
                                                         std::string_view) const {
  return Preface::kOther;
}
EngineThread::Outcome EngineThread::begin_http2(Connection& connection, std::string_view) {
  return close(connection);
}
EngineThread::Outcome EngineThread::serve_multiplexed(Connection& connection) {
  return close(connection);
}
EngineThread::Outcome EngineThread::watch_http2(Connection& connection) {
  return close(connection);
}
void EngineThread::resume_multiplexed(Connection&) {}
void EngineThread::drain_multiplexed(Connection&) {}
void EngineThread::leave_http2(Connection&) {}

void Http2Exchange::cancel() {}
bool Http2Connection::busy() { return false; }
void Http2Connection::change_poller(Poller&) {}
std::uint64_t Http2Connection::trace_number() { return 0; }

}  // namespace vigil::http
