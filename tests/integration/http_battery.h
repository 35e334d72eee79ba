// The battery: hostile and unusual bytes against a real server, and what must come back.
//
//   Demo demo;
//   check_rows(demo.address(), {{"P1.2 space before the colon", get("Foo : bar\r\n"), {400}}});
//
// Behind every row's bytes the client sends a marker, "GET /smuggled". It is answered (404) exactly
// where a row says that the connection goes on; anywhere else an answer to it is a smuggled
// request. So one rule holds for every row: the answers are those that the row names, and the
// connection ends behind them with nothing left over.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/raw_client.h"

namespace vigil::test {

enum class After : std::uint8_t {
  kClosed,  // the answer says Connection: close, and the marker is not answered
  kOpen,    // the marker is answered: the next request begins where it should
};

struct Row {
  std::string name;  // begins with the case's number in reliability.md
  std::string bytes;
  std::vector<int> statuses;  // any of these; 0: closed without an answer
  After after = After::kClosed;
  std::string body = {};  // of the last answer before the marker's, if not empty
  int served_before = 0;  // answers with 200 in front of that one
};

// A response as the client saw it.
struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  bool has(std::string_view field_line) const;  // "Connection: close"
};

// What came back on one connection.
struct Answers {
  std::vector<Answer> finals;
  std::size_t interims = 0;  // 1xx
  std::string left;          // bytes that are no whole response
  bool ended = false;        // by the server
};

// Splits a stream of responses. `first_is_head`: the first answers a HEAD request.
Answers split_answers(std::string stream, bool first_is_head);

// Sends `pieces` one by one on a connection of its own and reads to its end, at most 10 s.
Answers exchange(const HostPort& server, const std::vector<std::string>& pieces,
                 bool first_is_head = false);

// Every row: whole; then byte by byte, and cut in two at every byte, if it has at most
// kCutBytesMax bytes. Each row's failures are one Catch2 check that shows the row and what came.
void check_rows(const HostPort& server, const std::vector<Row>& rows);
// Whole and byte by byte only, for generated rows: the same line with another byte.
void check_rows_whole(const HostPort& server, const std::vector<Row>& rows);

inline constexpr std::size_t kCutBytesMax = 160;
// The body of GET /hello.
inline constexpr const char* kHello = "hello, world\n";

// Requests with `fields` ("A: b\r\n") behind a Host.
std::string get(std::string_view fields, std::string_view target = "/hello");
std::string post(std::string_view fields, std::string_view body = "");
// POST /echo with `coded` behind Transfer-Encoding: chunked.
std::string chunked(std::string_view coded);

}  // namespace vigil::test
