#include "sampler/demangle.h"

#include <cxxabi.h>

#include <array>
#include <cctype>
#include <cstddef>
#include <cstdlib>
#include <memory>

namespace vigil::sampler {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

// What g++, clang and the LTO linkers append to the name of a copy or a part of a function. "llvm"
// and "lto_priv" mark promoted statics, "constprop", "isra", "part" and "cold" what their names
// say.
constexpr std::array<std::string_view, 8> kCloneSuffixes = {
    ".part.", ".isra.", ".constprop.", ".cold", ".llvm.", ".lto_priv.", ".localalias", ".clone."};

// Longest first where one is the beginning of another: the demangler writes template arguments
// right behind the sign.
constexpr std::array<std::string_view, 42> kOperators = {
    "<=>", "<<=", ">>=", "->*", "()", "[]", "<<",    ">>",    "<=",      ">=", "==",
    "!=",  "&&",  "||",  "++",  "--", "->", "+=",    "-=",    "*=",      "/=", "%=",
    "^=",  "&=",  "|=",  "+",   "-",  "*",  "/",     "%",     "^",       "&",  "|",
    "~",   "!",   "=",   "<",   ">",  ",",  "\"\" ", "new[]", "delete[]"};

// What the demangler puts before the name of something that belongs to a function.
constexpr std::array<std::string_view, 6> kPrefixes = {
    "non-virtual thunk to ",  "virtual thunk to ",         "covariant return thunk to ",
    "TLS init function for ", "TLS wrapper function for ", "transaction clone for "};

constexpr std::array<std::string_view, 5> kQualifiers = {" const", " volatile", " &&", " &",
                                                         " noexcept"};

constexpr std::string_view kAnonymousNamespace = "(anonymous namespace)";
constexpr std::string_view kOperator = "operator";

bool is_identifier_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

bool has_at(std::string_view text, std::size_t at, std::string_view what) {
  return text.substr(at, what.size()) == what;
}

// The position behind the group that opens at `at`; kNone if it does not close. Parentheses and
// braces are balanced whatever is between them, so only their own kind is counted.
std::size_t skip_group(std::string_view text, std::size_t at, char open, char close) {
  std::size_t depth = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    if (text[i] == open) ++depth;
    if (text[i] == close && --depth == 0) return i + 1;
  }
  return kNone;
}

bool is_operator_word(std::string_view text, std::size_t at) {
  if (!has_at(text, at, kOperator)) return false;
  if (at > 0 && is_identifier_char(text[at - 1])) return false;
  const std::size_t end = at + kOperator.size();
  return end < text.size() && !is_identifier_char(text[end]);
}

// The sign of the operator whose word ends at `at`; empty for a conversion or for new, delete and
// co_await.
std::string_view operator_sign(std::string_view text, std::size_t at) {
  if (has_at(text, at, " new[]") || has_at(text, at, " delete[]")) ++at;
  for (std::string_view sign : kOperators) {
    if (has_at(text, at, sign)) return text.substr(at, sign.size());
  }
  return {};
}

// Deeper template arguments than any compiler makes (their limit is 900): a hostile file's name
// must not use up the stack.
constexpr int kAnglesDepthMax = 1000;

std::size_t skip_angles(std::string_view text, std::size_t at, int depth);

// The position behind the bracketed group at `at`, or `at` itself if none opens there.
std::size_t skip_any_group(std::string_view text, std::size_t at, int depth = 0) {
  switch (text[at]) {
    case '(':
      return skip_group(text, at, '(', ')');
    case '{':
      return skip_group(text, at, '{', '}');
    case '[':
      return skip_group(text, at, '[', ']');
    case '<':
      return skip_angles(text, at, depth + 1);
    default:
      return at;
  }
}

// Behind template arguments. '>' of "->" and of operator names does not close.
std::size_t skip_angles(std::string_view text, std::size_t at, int depth) {
  if (depth > kAnglesDepthMax) return kNone;
  for (std::size_t i = at + 1; i < text.size();) {
    if (text[i] == '>') return i + 1;
    if (has_at(text, i, "->")) {
      i += 2;
    } else if (is_operator_word(text, i)) {
      i += kOperator.size();
      i += operator_sign(text, i).size();
    } else if (const std::size_t behind = skip_any_group(text, i, depth); behind != i) {
      if (behind == kNone) return kNone;
      i = behind;
    } else {
      ++i;
    }
  }
  return kNone;
}

// Behind "operator" and what makes up its name, not its template arguments.
std::size_t skip_operator(std::string_view text, std::size_t at) {
  at += kOperator.size();
  if (const std::string_view sign = operator_sign(text, at); !sign.empty()) {
    at = static_cast<std::size_t>(sign.data() - text.data()) + sign.size();
    // "operator< <int>": the space keeps the two apart and is no end of a return type.
    return has_at(text, at, " <") ? at + 1 : at;
  }
  // new, delete, co_await, or the type of a conversion: to the parameter list.
  while (at < text.size() && text[at] != '(') {
    const std::size_t behind = skip_any_group(text, at);
    if (behind == kNone) return kNone;
    at = behind == at ? at + 1 : behind;
  }
  return at;
}

std::size_t skip_qualifiers(std::string_view text, std::size_t at) {
  for (bool again = true; again;) {
    again = false;
    for (std::string_view qualifier : kQualifiers) {
      if (!has_at(text, at, qualifier)) continue;
      at += qualifier.size();
      again = true;
    }
  }
  return at;
}

// Where in a demangled function the name is. Found is false for text that is no function.
struct NameRange {
  std::size_t begin = 0;
  std::size_t end = kNone;
};

NameRange find_name(std::string_view text) {
  NameRange range;
  for (std::size_t i = 0; i < text.size();) {
    if (has_at(text, i, kAnonymousNamespace)) {
      i += kAnonymousNamespace.size();
    } else if (is_operator_word(text, i)) {
      i = skip_operator(text, i);
    } else if (text[i] == ' ') {
      range.begin = ++i;  // what came before was the return type
    } else if (text[i] == '(') {
      const std::size_t behind = skip_group(text, i, '(', ')');
      if (behind == kNone) return {};
      const std::size_t rest = skip_qualifiers(text, behind);
      if (rest == text.size()) {
        range.end = i;
        return range;
      }
      // "run() const::{lambda()#1}": parameters of an enclosing function. Anything else belongs to
      // a return type.
      i = has_at(text, rest, "::") ? rest : behind;
    } else {
      const std::size_t behind = skip_any_group(text, i);
      i = behind == i ? i + 1 : behind;
    }
    if (i == kNone) return {};
  }
  return range;
}

std::string_view without_clone_notes(std::string_view text) {
  while (text.ends_with(']')) {
    const std::size_t at = text.rfind(" [clone ");
    if (at == kNone) break;
    text = text.substr(0, at);
  }
  return text;
}

std::string_view without_clone_suffix(std::string_view symbol) {
  std::size_t end = symbol.size();
  for (std::string_view suffix : kCloneSuffixes) {
    if (const std::size_t at = symbol.find(suffix); at != kNone && at > 0 && at < end) end = at;
  }
  return symbol.substr(0, end);
}

// The function's name in `text`; all of `text` if it does not look like a function.
std::string_view name_in(std::string_view text) {
  while (true) {
    const NameRange range = find_name(text);
    if (range.end == kNone || range.begin >= range.end) return text;
    const std::string_view name = text.substr(range.begin, range.end - range.begin);
    // "void (*pick<int>(int))(char)": a function that returns a pointer to function; its name is
    // inside.
    const bool inside = (name.starts_with("(*") || name.starts_with("(&")) && name.ends_with(')');
    if (!inside) return name;
    text = name.substr(2, name.size() - 3);
  }
}

}  // namespace

std::string strip_signature(std::string_view demangled) {
  std::string_view text = without_clone_notes(demangled);
  std::string_view prefixes = text;
  for (bool again = true; again;) {
    again = false;
    for (std::string_view prefix : kPrefixes) {
      if (!text.starts_with(prefix)) continue;
      text.remove_prefix(prefix.size());
      again = true;
    }
  }
  prefixes.remove_suffix(text.size());
  const std::string_view name = name_in(text);
  // Nothing but decoration: then that is the name.
  if (name.empty()) return std::string(demangled);
  return std::string(prefixes).append(name);
}

std::string readable_name(std::string_view symbol) {
  std::string plain(without_clone_suffix(symbol));
  // glibc's debug information calls getpid "__GI_getpid": the alias through which the library calls
  // itself.
  constexpr std::string_view kGlibcInternal = "__GI_";
  if (plain.starts_with(kGlibcInternal) && plain.size() > kGlibcInternal.size())
    plain.erase(0, kGlibcInternal.size());
  if (!plain.starts_with("_Z")) return plain;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(plain.c_str(), nullptr, nullptr, &status), &std::free);
  if (status != 0 || !demangled) return plain;
  return strip_signature(demangled.get());
}

}  // namespace vigil::sampler
