#include "endpoints/process.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::endpoints {
namespace {

constexpr std::string_view kRedacted = "[redacted]";
constexpr std::size_t kSymbolAddressesMax =
    100'000;  // of one request; pprof sends each address once

bool names_a_secret(std::string_view option) {
  std::string lower(option);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (std::string_view word :
       {"password", "passwd", "passphrase", "secret", "token", "key", "credential", "auth"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

// "scheme://user:password@host" with the part before "@" hidden; other text as it is.
std::string without_url_user(std::string_view text) {
  const std::size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) return std::string(text);
  const std::size_t authority = scheme + 3;
  const std::size_t at = text.find('@', authority);
  if (at == std::string_view::npos || at > text.find('/', authority)) return std::string(text);
  return fmt::format("{}{}{}", text.substr(0, authority), kRedacted, text.substr(at));
}

}  // namespace

std::vector<std::string> redacted_arguments(std::span<const std::string> arguments) {
  std::vector<std::string> redacted;
  bool hide_next = false;
  for (const std::string& argument : arguments) {
    const bool is_option = argument.starts_with("-");
    const std::size_t equals = argument.find('=');
    if (hide_next && !is_option) {
      redacted.emplace_back(kRedacted);
    } else if (equals != std::string::npos && names_a_secret(argument.substr(0, equals))) {
      redacted.push_back(argument.substr(0, equals + 1).append(kRedacted));
    } else {
      redacted.push_back(without_url_user(argument));
    }
    hide_next = is_option && equals == std::string::npos && names_a_secret(argument);
  }
  return redacted;
}

Page cmdline_page(const PageRequest&, const Services& services) {
  std::string body;
  for (const std::string& argument : services.command_line) {
    if (!body.empty()) body += '\0';
    body += argument;
  }
  return text_page(std::move(body));
}

std::vector<std::uintptr_t> parse_symbol_addresses(std::string_view text) {
  std::vector<std::uintptr_t> addresses;
  while (!text.empty() && addresses.size() < kSymbolAddressesMax) {
    const std::size_t plus = std::min(text.find('+'), text.size());
    std::string_view word = text.substr(0, plus);
    text.remove_prefix(std::min(plus + 1, text.size()));
    if (word.starts_with("0x") || word.starts_with("0X")) word.remove_prefix(2);
    while (!word.empty() && std::isspace(static_cast<unsigned char>(word.back()))) {
      word.remove_suffix(1);
    }
    std::uintptr_t address = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), address, 16);
    if (error == std::errc() && end == word.data() + word.size()) addresses.push_back(address);
  }
  return addresses;
}

Page symbol_page(const PageRequest& request, const Services& services) {
  // The number is a flag, not a count: it tells the client that there are symbols at all.
  std::string body = "num_symbols: 1\n";
  const auto table = services.modules.current();
  for (std::uintptr_t address :
       parse_symbol_addresses(request.method == "POST" ? request.body : request.raw_query)) {
    // The clients have subtracted 1 already: what they send lies inside the instruction.
    const auto symbol =
        services.symbolizer.symbolize(sampler::FrameAddress::instruction(address), *table);
    if (!symbol.known()) continue;
    fmt::format_to(std::back_inserter(body), "{:#x} {}\n", address,
                   symbol.frames().back().function->system_name);
  }
  return text_page(std::move(body));
}

}  // namespace vigil::endpoints
