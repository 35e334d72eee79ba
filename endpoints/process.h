// /debug/pprof/{cmdline,symbol} and the index: small pages about the process.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// The program and its arguments, separated by NUL.
Page cmdline_page(const PageRequest& request, const Services& services);

// "num_symbols: 1", then "0x… name" for each address of the query or body that resolves; addresses
// are separated by "+", those that do not parse are skipped. Names are mangled: the clients
// demangle.
Page symbol_page(const PageRequest& request, const Services& services);

// The value of every argument that looks like a secret becomes "[redacted]": of an option whose
// name says password, secret, token, key, credential or auth ("--db-password=x", "--token x"), and
// the user part of a URL
// ("postgres://me:pw@host"). Pure.
std::vector<std::string> redacted_arguments(std::span<const std::string> arguments);

// The addresses of a symbol request: "0x1a+0x2b". Pure.
std::vector<std::uintptr_t> parse_symbol_addresses(std::string_view text);

}  // namespace vigil::endpoints
