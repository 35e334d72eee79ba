#include "endpoints/process.h"

#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

using Strings = std::vector<std::string>;

TEST_CASE("P7.8 values that look secret are hidden from the command line, the rest is not") {
  const Strings arguments = {"server",
                             "--listen=127.0.0.1:80",
                             "--db-password=hunter2",
                             "--api-token",
                             "t0k3n",
                             "--Secret",
                             "--verbose",
                             "API_KEY=abc",
                             "postgres://me:pw@db/x",
                             "http://host/a@b",
                             "plain"};
  CHECK(redacted_arguments(arguments) ==
        Strings{"server", "--listen=127.0.0.1:80", "--db-password=[redacted]", "--api-token",
                "[redacted]", "--Secret", "--verbose", "API_KEY=[redacted]",
                "postgres://[redacted]@db/x", "http://host/a@b", "plain"});
}

TEST_CASE("symbol requests are addresses with + between, what does not parse is skipped") {
  using Addresses = std::vector<std::uintptr_t>;
  CHECK(parse_symbol_addresses("") == Addresses{});
  CHECK(parse_symbol_addresses("0x1a") == Addresses{0x1a});
  CHECK(parse_symbol_addresses("0x1a+0x2b") == Addresses{0x1a, 0x2b});
  CHECK(parse_symbol_addresses("0x00000000000000ff\r\n") == Addresses{0xff});
  CHECK(parse_symbol_addresses("0x1+zz++0x+-0x2+0x3") == Addresses{0x1, 0x3});
  CHECK(parse_symbol_addresses("0x11112222333344445") == Addresses{});
}

}  // namespace
}  // namespace vigil::endpoints
