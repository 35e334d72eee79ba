// Whether a program was compiled with the switches that the installed cpp-httplib was compiled with. Its classes differ by
// them: without -DCPPHTTPLIB_OPENSSL_SUPPORT a handler of a library that has TLS (Debian's) reads its request eight bytes
// beside, and neither compiler nor linker says a word.
//
//   vigil::leakwatch::require_httplib_switches();   // in the constructors of our adapters
//
// No static_assert: the library's header is the same file for all switches. What tells them apart is whether the library
// has a class SSLServer, and a weak reference to its table of functions asks just that. Where the library is compiled into
// the program (header-only) there is no such question.
#pragma once

#include <stdexcept>

#include <httplib.h>

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
// Null where nothing of that name is linked. Itanium C++ ABI, 5.1.4: the virtual table of httplib::SSLServer.
extern "C" __attribute__((weak, visibility("default")))
const char vigil_httplib_tls_server __asm__("_ZTVN7httplib9SSLServerE");
#endif

namespace vigil::leakwatch {

// Throws std::logic_error, with what to do, if they are not the same. Thread-safe. Cost: a comparison.
inline void require_httplib_switches() {
#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
  const char* volatile found = &vigil_httplib_tls_server;
  if (found == nullptr) return;
  throw std::logic_error(
      "cpp-httplib was compiled with TLS and this program without CPPHTTPLIB_OPENSSL_SUPPORT, so "
      "that they do not agree on its classes: compile with pkg-config --cflags cpp-httplib");
#endif
}

}  // namespace vigil::leakwatch
