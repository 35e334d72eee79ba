// P10.1: a program that was compiled without what pkg-config --cflags cpp-httplib says. 0: it is told so.
#include <cstdio>
#include <cstring>
#include <exception>

#include "leakwatch/adapters/httplib_switches.h"

int main() {
  try {
    vigil::leakwatch::require_httplib_switches();
  } catch (const std::exception& error) {
    std::puts(error.what());
    return std::strstr(error.what(), "pkg-config --cflags cpp-httplib") != nullptr ? 0 : 1;
  }
  std::puts("not noticed");
  return 1;
}
