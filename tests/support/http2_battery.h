// What RFC 9113 and RFC 7541 say about single frames and small sequences of them, as a table: each
// case names its section, what a client sends behind the preface and its SETTINGS, and what must
// come back. Run against the session by itself, whole and cut, and against a server.
#pragma once

#include <string>
#include <vector>

namespace vigil::test::h2 {

struct Case {
  const char* section;
  const char* name;
  std::string sent;
  // What must be among the lines of Reader::text(), several possibilities separated by "|"; "GOAWAY
  // X" stands for any last stream, and the connection must end behind it.
  std::string expected;
};

// RFC 9113 sections 4 to 8, and RFC 7541.
const std::vector<Case>& battery();
// What is sent in the place of preface and SETTINGS: the whole of `sent` is.
const std::vector<Case>& preface_battery();

// Whether the lines of `text` have what `expected` says.
bool satisfies(const std::string& text, const std::string& expected);

}  // namespace vigil::test::h2
