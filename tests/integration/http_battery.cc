#include "tests/integration/http_battery.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>

#include "tests/support/catch.h"

namespace vigil::test {
namespace {

constexpr std::string_view kMarker =
    "GET /smuggled HTTP/1.1\r\nHost: battery\r\nConnection: close\r\n\r\n";

// The value of a field of a response's head, by its exact name.
std::string field_of(std::string_view head, std::string_view name) {
  const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
  if (at == std::string_view::npos) return "";
  const std::size_t begin = at + name.size() + 4;
  return std::string(head.substr(begin, head.find("\r\n", begin) - begin));
}

// Takes a chunked body from the front of `stream`; false if it is not whole and well-formed.
bool take_chunks(std::string_view& stream, std::string& body) {
  while (true) {
    const std::size_t line = stream.find("\r\n");
    if (line == std::string_view::npos || line == 0) return false;
    const std::size_t size =
        std::strtoull(std::string(stream.substr(0, line)).c_str(), nullptr, 16);
    stream.remove_prefix(line + 2);
    if (stream.size() < size + 2 || stream.substr(size, 2) != "\r\n") return false;
    body.append(stream.substr(0, size));
    stream.remove_prefix(size + 2);
    if (size == 0) return true;
  }
}

// Takes one response from the front of `stream`; nothing, and `stream` as it was, if none is whole.
std::optional<Answer> take_answer(std::string_view& stream, bool to_head) {
  const std::size_t end = stream.find("\r\n\r\n");
  if (end == std::string_view::npos || !stream.starts_with("HTTP/1.")) return std::nullopt;
  Answer answer;
  answer.head = stream.substr(0, end + 2);
  answer.status = std::atoi(answer.head.c_str() + 9);
  std::string_view rest = stream.substr(end + 4);
  const std::string length = field_of(answer.head, "Content-Length");
  if (to_head || answer.status < 200 || answer.status == 204 || answer.status == 304) {
    // No body, whatever the head says.
  } else if (answer.has("Transfer-Encoding: chunked")) {
    if (!take_chunks(rest, answer.body)) return std::nullopt;
  } else if (!length.empty()) {
    const std::size_t size = std::strtoull(length.c_str(), nullptr, 10);
    if (rest.size() < size) return std::nullopt;
    answer.body = rest.substr(0, size);
    rest.remove_prefix(size);
  } else {
    answer.body = rest;  // up to the end of the connection
    rest = {};
  }
  stream = rest;
  return answer;
}

Answers read_answers(RawClient& client, bool first_is_head) {
  while (client.receive()) {
  }
  Answers answers = split_answers(client.take_received(), first_is_head);
  answers.ended = client.ended();
  return answers;
}

std::string describe(const Answers& answers) {
  std::ostringstream text;
  for (const Answer& answer : answers.finals) text << answer.head << "[" << answer.body << "]\n";
  if (!answers.left.empty())
    text << "left over: " << Catch::Detail::stringify(answers.left) << "\n";
  text << (answers.ended ? "closed" : "NOT CLOSED within 10 s");
  return text.str();
}

// What is wrong with the answers to a row; empty if nothing.
std::string complaint(const Row& row, const Answers& answers) {
  if (!answers.ended) return "the connection was not closed";
  if (!answers.left.empty()) return "bytes that are no response";
  std::size_t next = 0;
  for (int i = 0; i < row.served_before; ++i, ++next) {
    if (next == answers.finals.size() || answers.finals[next].status != 200) {
      return "a request in front was not served";
    }
  }
  const bool silent = next == answers.finals.size();
  const int status = silent ? 0 : answers.finals[next].status;
  if (std::find(row.statuses.begin(), row.statuses.end(), status) == row.statuses.end()) {
    return "status " + std::to_string(status);
  }
  if (silent) return "";
  const Answer& answer = answers.finals[next++];
  if (field_of(answer.head, "Date").empty()) return "no Date";
  if (!row.body.empty() && answer.body != row.body) return "another body";
  if (row.after == After::kClosed) {
    if (next != answers.finals.size()) return "SMUGGLED: answered behind the end";
    return answer.has("Connection: close") ? "" : "no Connection: close";
  }
  if (answer.has("Connection: close")) return "Connection: close";
  if (next + 1 != answers.finals.size()) return "not one answer to what followed";
  return answers.finals[next].status == 404 ? "" : "what followed was misread";
}

bool is_head(const Row& row) { return row.bytes.starts_with("HEAD "); }

void check(const Row& row, const std::string& how, const Answers& answers) {
  const std::string wrong = complaint(row, answers);
  if (!wrong.empty()) {
    UNSCOPED_INFO(row.name << ", " << how << ": "
                           << Catch::Detail::stringify(row.bytes.substr(0, 400)));
    UNSCOPED_INFO(describe(answers));
  }
  CHECK(wrong == "");
}

// Answered requests on as many connections as there can be pollers that are behind: what was sent
// before has been read when they are through.
void wait_until_read(std::vector<std::unique_ptr<RawClient>>& controls) {
  for (auto& control : controls) (void)control->send("GET /hello HTTP/1.1\r\nHost: c\r\n\r\n");
  for (auto& control : controls) (void)control->read_response();
}

// The row cut in two at every byte, all cuts at once: the second halves follow when the first ones
// have been read.
void check_cuts(const HostPort& server, const Row& row) {
  std::vector<std::unique_ptr<RawClient>> controls, clients;
  for (int i = 0; i < 4; ++i) controls.push_back(std::make_unique<RawClient>(server));
  for (std::size_t cut = 1; cut < row.bytes.size(); ++cut) {
    clients.push_back(std::make_unique<RawClient>(server));
    clients.back()->reset_on_close();
    (void)clients.back()->send(std::string_view(row.bytes).substr(0, cut));
  }
  wait_until_read(controls);
  for (std::size_t cut = 1; cut < row.bytes.size(); ++cut) {
    (void)clients[cut - 1]->send(row.bytes.substr(cut).append(kMarker));
  }
  for (std::size_t cut = 1; cut < row.bytes.size(); ++cut) {
    check(row, "cut at " + std::to_string(cut), read_answers(*clients[cut - 1], is_head(row)));
  }
}

void check_whole_and_bytes(const HostPort& server, const Row& row) {
  check(row, "whole", exchange(server, {row.bytes + std::string(kMarker)}, is_head(row)));
  if (row.bytes.size() > 2048) return;
  std::vector<std::string> bytes;
  for (char byte : row.bytes) bytes.emplace_back(1, byte);
  bytes.emplace_back(kMarker);
  check(row, "byte by byte", exchange(server, bytes, is_head(row)));
}

}  // namespace

bool Answer::has(std::string_view field_line) const {
  return head.find("\r\n" + std::string(field_line) + "\r\n") != std::string::npos;
}

Answers split_answers(std::string stream, bool first_is_head) {
  Answers answers;
  std::string_view rest = stream;
  while (auto answer = take_answer(rest, first_is_head && answers.finals.empty())) {
    if (answer->status < 200) {
      ++answers.interims;
    } else {
      answers.finals.push_back(std::move(*answer));
    }
  }
  answers.left = rest;
  return answers;
}

Answers exchange(const HostPort& server, const std::vector<std::string>& pieces,
                 bool first_is_head) {
  RawClient client(server);
  client.reset_on_close();
  for (const std::string& piece : pieces) {
    if (!client.send(piece)) break;
  }
  return read_answers(client, first_is_head);
}

void check_rows(const HostPort& server, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    check_whole_and_bytes(server, row);
    if (row.bytes.size() <= kCutBytesMax) check_cuts(server, row);
  }
}

void check_rows_whole(const HostPort& server, const std::vector<Row>& rows) {
  for (const Row& row : rows) check_whole_and_bytes(server, row);
}

std::string get(std::string_view fields, std::string_view target) {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n";
}

std::string post(std::string_view fields, std::string_view body) {
  return "POST /echo HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

std::string chunked(std::string_view coded) {
  return post("Transfer-Encoding: chunked\r\n", coded);
}

}  // namespace vigil::test
