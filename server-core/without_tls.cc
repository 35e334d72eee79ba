// A server that is never given a TlsContext, for programs that must not carry OpenSSL: linked in front of the library
// (target vigil_http_without_tls), it stands for handshake.cc and tls.cc, the only ways to OpenSSL from the engine.
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/tls.h"

namespace vigil::http {

WallTime TlsContext::expires() const { return WallTime::max(); }

EngineThread::Outcome EngineThread::shake_hands(Connection& connection) {
  return close(connection);
}
EngineThread::Outcome EngineThread::end_of_handshake_time(Connection& connection) {
  return close(connection);
}
bool EngineThread::keep_buffers(Connection&) { return false; }
EngineThread::Outcome EngineThread::become_quiet(Connection& connection) {
  return close(connection);
}

}  // namespace vigil::http
