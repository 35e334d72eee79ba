#include "tests/support/http2_battery.h"

#include "tests/support/http2_frames.h"

namespace vigil::test::h2 {
namespace {

const Fields kPseudo = {
    {":method", "GET"}, {":scheme", "http"}, {":path", "/hello"}, {":authority", "localhost"}};

Fields with(const Fields& more) { return request_fields("GET", "/hello", more); }

// A request of these fields only.
std::string only(const Fields& fields) { return headers(1, fields); }

std::string padded(std::uint8_t type, std::uint8_t flags, std::uint8_t pad,
                   const std::string& payload, std::size_t padding) {
  return frame(type, flags | kPadded, 1,
               std::string(1, char(pad)) + payload + std::string(padding, 0));
}

std::string goaway(std::uint32_t stream, std::uint32_t last) {
  return frame(kGoaway, kNone, stream, number(last) + number(0));
}

const char* const kMalformed = "RST 1 PROTOCOL_ERROR|HEADERS 1 400";

}  // namespace

const std::vector<Case>& battery() {
  static const std::vector<Case> kCases = {
      // --- 3.4, 4: framing.
      {"4.1", "a frame of unknown type is ignored", frame(0xEE, 0xFF, 1, "abc") + get(1, "/hello"),
       "HEADERS 1 200"},
      {"4.1", "unknown flags are ignored", frame(kPing, 0xFE, 0, "12345678"), "PONG"},
      {"4.1", "the reserved bit is ignored", frame(kPing, 0, 0x80000000u, "12345678"), "PONG"},
      {"4.2", "DATA of 2^14 bytes", post(1, "/echo") + data(1, std::string(16384, 'a')),
       "HEADERS 1 200"},
      {"4.2", "DATA of more than SETTINGS_MAX_FRAME_SIZE",
       post(1, "/echo") + data(1, std::string(16385, 'a')),
       "RST 1 FRAME_SIZE_ERROR|GOAWAY FRAME_SIZE_ERROR"},
      {"4.2", "HEADERS of more than SETTINGS_MAX_FRAME_SIZE",
       get(1, "/hello", {{"x", std::string(16385, 'a')}}), "GOAWAY FRAME_SIZE_ERROR"},
      {"4.3", "a header block that does not decode",
       frame(kHeaders, kWhole, 1, "\x82\x86\xff\xff\xff\xff\xff\xff\xff"),
       "GOAWAY COMPRESSION_ERROR"},
      {"4.3", "another stream's HEADERS inside a header block",
       frame(kHeaders, kEndStream, 1, block(kPseudo)) + get(3, "/hello"), "GOAWAY PROTOCOL_ERROR"},
      {"4.3", "PRIORITY inside a header block",
       frame(kHeaders, kEndStream, 1, block(kPseudo)) + frame(kPriority, 0, 1, number(0) + "\x10"),
       "GOAWAY PROTOCOL_ERROR"},
      {"4.3", "DATA inside a header block", frame(kHeaders, 0, 1, block(kPseudo)) + data(1, "a"),
       "GOAWAY PROTOCOL_ERROR"},
      {"4.3", "a frame of unknown type inside a header block",
       frame(kHeaders, kEndStream, 1, block(kPseudo)) + frame(0xEE, 0, 1, ""),
       "GOAWAY PROTOCOL_ERROR"},
      // --- 5.1: the states of a stream.
      {"5.1", "idle: DATA", data(1, "a"), "GOAWAY PROTOCOL_ERROR"},
      {"5.1", "idle: RST_STREAM", rst(1), "GOAWAY PROTOCOL_ERROR"},
      {"5.1", "idle: WINDOW_UPDATE", window_update(1, 100), "GOAWAY PROTOCOL_ERROR"},
      {"5.1", "idle: CONTINUATION", frame(kContinuation, kEndHeaders, 1, block(kPseudo)),
       "GOAWAY PROTOCOL_ERROR"},
      {"5.1", "half-closed (remote): DATA", get(1, "/hold") + data(1, "a"),
       "RST 1 STREAM_CLOSED|GOAWAY STREAM_CLOSED"},
      {"5.1", "half-closed (remote): HEADERS", get(1, "/hold") + get(1, "/hold"),
       "RST 1 STREAM_CLOSED|GOAWAY STREAM_CLOSED"},
      {"5.1", "half-closed (remote): CONTINUATION",
       get(1, "/hold") + frame(kContinuation, kEndHeaders, 1, block(kPseudo)),
       "GOAWAY PROTOCOL_ERROR|GOAWAY STREAM_CLOSED"},
      {"5.1", "closed by RST_STREAM: HEADERS", get(1, "/hold") + rst(1) + get(1, "/hold"),
       "RST 1 STREAM_CLOSED|GOAWAY STREAM_CLOSED|GOAWAY PROTOCOL_ERROR"},
      {"5.1", "closed by RST_STREAM: CONTINUATION",
       get(1, "/hold") + rst(1) + frame(kContinuation, kEndHeaders, 1, block(kPseudo)),
       "GOAWAY PROTOCOL_ERROR|GOAWAY STREAM_CLOSED"},
      {"5.1", "closed: PRIORITY is allowed",
       get(1, "/hold") + rst(1) + frame(kPriority, 0, 1, number(0) + "\x10") + get(3, "/hello"),
       "HEADERS 3 200"},
      {"5.1.1", "an even stream identifier", get(2, "/hello"), "GOAWAY PROTOCOL_ERROR"},
      {"5.1.1", "a stream identifier that goes down", get(5, "/hello") + get(3, "/hello"),
       "GOAWAY PROTOCOL_ERROR|GOAWAY STREAM_CLOSED"},
      {"5.1", "closed by END_STREAM: HEADERS",
       get(1, "/hello") + get(3, "/hello") + get(1, "/hello"), "GOAWAY STREAM_CLOSED"},
      {"5.1", "closed by RST_STREAM: DATA is ignored or an error",
       post(1, "/hold") + rst(1) + data(1, "a") + get(3, "/hello"),
       "HEADERS 3 200|GOAWAY STREAM_CLOSED"},
      {"5.1", "reset by us: DATA on its way is ignored",
       post(1, "/hello") + data(1, "a") + get(3, "/hello"), "HEADERS 3 200"},
      {"5.1.1", "stream identifiers may have gaps", get(1, "/hello") + get(101, "/hello"),
       "HEADERS 101 200"},
      {"5.4.1", "after a connection error nothing is served", ping("1234567") + get(1, "/hello"),
       "GOAWAY FRAME_SIZE_ERROR"},
      {"5.5", "an unknown setting is ignored", settings({{0xFF00, 1}}) + get(1, "/hello"),
       "HEADERS 1 200"},
      // --- 6.1 DATA.
      {"6.1", "DATA on stream 0", data(0, "a"), "GOAWAY PROTOCOL_ERROR"},
      {"6.1", "DATA with padding", post(1, "/echo") + padded(kData, kEndStream, 3, "ab", 3),
       "DATA 1 2 END"},
      {"6.1", "padding as long as the frame",
       post(1, "/echo") + padded(kData, kEndStream, 6, "hello", 0), "GOAWAY PROTOCOL_ERROR"},
      {"6.1", "padded, but without a length",
       post(1, "/echo") + frame(kData, kEndStream | kPadded, 1, ""),
       "GOAWAY FRAME_SIZE_ERROR|GOAWAY PROTOCOL_ERROR"},
      // --- 6.2 HEADERS.
      {"6.2", "HEADERS on stream 0", headers(0, kPseudo), "GOAWAY PROTOCOL_ERROR"},
      {"6.2", "HEADERS with padding", padded(kHeaders, kWhole, 4, block(kPseudo), 4),
       "HEADERS 1 200"},
      {"6.2", "padding as long as the frame", padded(kHeaders, kWhole, 255, block(kPseudo), 0),
       "GOAWAY PROTOCOL_ERROR"},
      {"6.2", "HEADERS with priority",
       frame(kHeaders, kWhole | kPriorityFlag, 1, number(0) + "\x10" + block(kPseudo)),
       "HEADERS 1 200"},
      // --- 6.3 PRIORITY.
      {"6.3", "PRIORITY on stream 0", frame(kPriority, 0, 0, number(1) + "\x10"),
       "GOAWAY PROTOCOL_ERROR"},
      {"6.3", "PRIORITY of 4 bytes", get(1, "/hold") + frame(kPriority, 0, 1, number(0)),
       "RST 1 FRAME_SIZE_ERROR|GOAWAY FRAME_SIZE_ERROR"},
      {"6.3", "PRIORITY on an idle stream",
       frame(kPriority, 0, 1, number(0) + "\x10") + get(1, "/hello"), "HEADERS 1 200"},
      // --- 6.4 RST_STREAM.
      {"6.4", "RST_STREAM on stream 0", rst(0), "GOAWAY PROTOCOL_ERROR"},
      {"6.4", "RST_STREAM of 3 bytes", get(1, "/hold") + frame(kRstStream, 0, 1, "abc"),
       "GOAWAY FRAME_SIZE_ERROR"},
      // --- 6.5 SETTINGS.
      {"6.5", "SETTINGS with ACK and a payload", frame(kSettings, kAck, 0, number(0, 6)),
       "GOAWAY FRAME_SIZE_ERROR"},
      {"6.5", "SETTINGS on a stream", frame(kSettings, 0, 1, ""), "GOAWAY PROTOCOL_ERROR"},
      {"6.5", "SETTINGS of 7 bytes", frame(kSettings, 0, 0, number(0, 7)),
       "GOAWAY FRAME_SIZE_ERROR"},
      {"6.5.2", "ENABLE_PUSH of 2", settings({{2, 2}}), "GOAWAY PROTOCOL_ERROR"},
      {"6.5.2", "INITIAL_WINDOW_SIZE of 2^31", settings({{4, 0x80000000u}}),
       "GOAWAY FLOW_CONTROL_ERROR"},
      {"6.5.2", "MAX_FRAME_SIZE below 2^14", settings({{5, 16383}}), "GOAWAY PROTOCOL_ERROR"},
      {"6.5.2", "MAX_FRAME_SIZE above 2^24-1", settings({{5, 0x1000000}}), "GOAWAY PROTOCOL_ERROR"},
      {"6.5.3", "several values of one setting: the last one holds",
       settings({{4, 100}, {4, 1}}) + get(1, "/hello"), "DATA 1 1"},
      // --- 6.6 PUSH_PROMISE.
      {"6.6", "PUSH_PROMISE from a client",
       get(1, "/hold") + frame(kPushPromise, kEndHeaders, 1, number(2) + block(kPseudo)),
       "GOAWAY PROTOCOL_ERROR"},
      // --- 6.7 PING.
      {"6.7", "PING is answered", ping(), "PONG"},
      {"6.7", "PING with ACK is not answered", ping("abcdefgh", kAck) + get(1, "/hello"),
       "HEADERS 1 200"},
      {"6.7", "PING on a stream", frame(kPing, 0, 1, "12345678"), "GOAWAY PROTOCOL_ERROR"},
      {"6.7", "PING of 6 bytes", ping("123456"), "GOAWAY FRAME_SIZE_ERROR"},
      // --- 6.8 GOAWAY.
      {"6.8", "GOAWAY on a stream", goaway(1, 0), "GOAWAY PROTOCOL_ERROR"},
      {"6.8", "after the client's GOAWAY its requests are answered",
       get(1, "/hello") + goaway(0, 0), "HEADERS 1 200"},
      // --- 6.9 WINDOW_UPDATE.
      {"6.9", "an increment of 0 on the connection", window_update(0, 0), "GOAWAY PROTOCOL_ERROR"},
      {"6.9", "an increment of 0 on a stream", get(1, "/hold") + window_update(1, 0),
       "RST 1 PROTOCOL_ERROR|GOAWAY PROTOCOL_ERROR"},
      {"6.9", "WINDOW_UPDATE of 3 bytes", frame(kWindowUpdate, 0, 0, "abc"),
       "GOAWAY FRAME_SIZE_ERROR"},
      {"6.9.1", "the stream's window is kept to", settings({{4, 1}}) + get(1, "/hello"),
       "DATA 1 1"},
      {"6.9.1", "a connection window above 2^31-1", window_update(0, 0x7FFFFFFF),
       "GOAWAY FLOW_CONTROL_ERROR"},
      {"6.9.1", "a stream window above 2^31-1", get(1, "/hold") + window_update(1, 0x7FFFFFFF),
       "RST 1 FLOW_CONTROL_ERROR|GOAWAY FLOW_CONTROL_ERROR"},
      {"6.9.2", "SETTINGS make a window that waited larger",
       settings({{4, 0}}) + get(1, "/hello") + settings({{4, 1}}), "DATA 1 1"},
      {"6.9.2", "SETTINGS make a window larger than 2^31-1",
       get(1, "/hold") + window_update(1, 0x70000000) + settings({{4, 0x7FFFFFFF}}),
       "GOAWAY FLOW_CONTROL_ERROR"},
      // --- 6.10 CONTINUATION.
      {"6.10", "a header block in three frames",
       frame(kHeaders, kEndStream, 1, block({kPseudo[0]})) +
           frame(kContinuation, 0, 1, block({kPseudo[1], kPseudo[2]})) +
           frame(kContinuation, kEndHeaders, 1, block({kPseudo[3]})),
       "HEADERS 1 200"},
      {"6.10", "CONTINUATION on another stream",
       frame(kHeaders, kEndStream, 1, block(kPseudo)) + frame(kContinuation, kEndHeaders, 3, ""),
       "GOAWAY PROTOCOL_ERROR"},
      {"6.10", "CONTINUATION on stream 0",
       frame(kHeaders, kEndStream, 1, block(kPseudo)) + frame(kContinuation, kEndHeaders, 0, ""),
       "GOAWAY PROTOCOL_ERROR"},
      {"6.10", "CONTINUATION behind END_HEADERS",
       get(1, "/hold") + frame(kContinuation, kEndHeaders, 1, ""), "GOAWAY PROTOCOL_ERROR"},
      // --- 8.1: requests (P5.5).
      {"8.1", "a second HEADERS without END_STREAM",
       post(1, "/echo") + headers(1, {{"x", "y"}}, kEndHeaders), kMalformed},
      {"8.1", "a pseudo-header field in trailers",
       post(1, "/echo") + headers(1, {{":method", "GET"}}), kMalformed},
      {"8.1", "trailers", post(1, "/echo") + data(1, "abc", kNone) + headers(1, {{"x-sum", "1"}}),
       "HEADERS 1 trailers|DATA 1 9 END"},
      {"8.2.1", "an upper-case name", only(with({{"X-Upper", "1"}})), kMalformed},
      {"8.2.1", "a name with a space", only(with({{"x y", "1"}})), kMalformed},
      {"8.2.1", "a name with a control byte", only(with({{"x\x01y", "1"}})), kMalformed},
      {"8.2.1", "a name with a colon inside", only(with({{"x:y", "1"}})), kMalformed},
      {"8.2.1", "an empty name", only(with({{"", "1"}})), kMalformed},
      {"8.2.1", "CR in a value", only(with({{"x", "a\rb"}})), kMalformed},
      {"8.2.1", "LF in a value", only(with({{"x", "a\nb"}})), kMalformed},
      {"8.2.1", "NUL in a value", only(with({{"x", std::string("a\0b", 3)}})), kMalformed},
      {"8.2.1", "white space around a value", only(with({{"x", " a"}})), kMalformed},
      {"8.2.2", "Connection", only(with({{"connection", "keep-alive"}})), kMalformed},
      {"8.2.2", "Proxy-Connection", only(with({{"proxy-connection", "keep-alive"}})), kMalformed},
      {"8.2.2", "Keep-Alive", only(with({{"keep-alive", "1"}})), kMalformed},
      {"8.2.2", "Transfer-Encoding", only(with({{"transfer-encoding", "chunked"}})), kMalformed},
      {"8.2.2", "Upgrade", only(with({{"upgrade", "h2c"}})), kMalformed},
      {"8.2.2", "TE other than trailers", only(with({{"te", "trailers, deflate"}})), kMalformed},
      {"8.2.2", "TE: trailers", only(with({{"te", "trailers"}})), "HEADERS 1 200"},
      {"8.3", "an unknown pseudo-header field", only(with({{":test", "1"}})), kMalformed},
      {"8.3", "a pseudo-header field of responses",
       only({{":status", "200"}, kPseudo[0], kPseudo[1], kPseudo[2], kPseudo[3]}), kMalformed},
      {"8.3", "a pseudo-header field behind a field",
       only({kPseudo[0], kPseudo[1], {"x", "y"}, kPseudo[2], kPseudo[3]}), kMalformed},
      {"8.3.1", "no :method", only({kPseudo[1], kPseudo[2], kPseudo[3]}), kMalformed},
      {"8.3.1", "no :scheme", only({kPseudo[0], kPseudo[2], kPseudo[3]}), kMalformed},
      {"8.3.1", "no :path", only({kPseudo[0], kPseudo[1], kPseudo[3]}), kMalformed},
      {"8.3.1", "an empty :path", only({kPseudo[0], kPseudo[1], {":path", ""}, kPseudo[3]}),
       kMalformed},
      {"8.3.1", "a :path that is no path",
       only({kPseudo[0], kPseudo[1], {":path", "hello"}, kPseudo[3]}), kMalformed},
      {"8.3.1", "an absolute :path",
       only({kPseudo[0], kPseudo[1], {":path", "http://localhost/hello"}, kPseudo[3]}), kMalformed},
      {"8.3.1", "* for another method than OPTIONS",
       only({kPseudo[0], kPseudo[1], {":path", "*"}, kPseudo[3]}), kMalformed},
      {"8.3.1", "a space in :path", only({kPseudo[0], kPseudo[1], {":path", "/a b"}, kPseudo[3]}),
       kMalformed},
      {"8.3.1", "two :method", only({kPseudo[0], kPseudo[0], kPseudo[1], kPseudo[2], kPseudo[3]}),
       kMalformed},
      {"8.3.1", "two :scheme", only({kPseudo[0], kPseudo[1], kPseudo[1], kPseudo[2], kPseudo[3]}),
       kMalformed},
      {"8.3.1", "two :path", only({kPseudo[0], kPseudo[1], kPseudo[2], kPseudo[2], kPseudo[3]}),
       kMalformed},
      {"8.3.1", "two :authority",
       only({kPseudo[0], kPseudo[1], kPseudo[2], kPseudo[3], kPseudo[3]}), kMalformed},
      {"8.3.1", ":authority and host differ", only(with({{"host", "example.com"}})), kMalformed},
      {"8.3.1", ":authority and host are the same", only(with({{"host", "localhost"}})),
       "HEADERS 1 200"},
      {"8.3.1", "host without :authority",
       only({kPseudo[0], kPseudo[1], kPseudo[2], {"host", "localhost"}}), "HEADERS 1 200"},
      {"8.3.1", "neither :authority nor host", only({kPseudo[0], kPseudo[1], kPseudo[2]}),
       kMalformed},
      {"8.3.1", "user information in :authority",
       only({kPseudo[0], kPseudo[1], kPseudo[2], {":authority", "me@localhost"}}), kMalformed},
      {"8.3.1", "a method that is no token",
       only({{":method", "G(T"}, kPseudo[1], kPseudo[2], kPseudo[3]}), kMalformed},
      {"8.5", "CONNECT is not served",
       only({{":method", "CONNECT"}, {":authority", "localhost:80"}}), "HEADERS 1 501"},
      {"8.1.1", "more DATA than the content-length",
       post(1, "/echo", {{"content-length", "1"}}) + data(1, "ab"), kMalformed},
      {"8.1.1", "less DATA than the content-length",
       post(1, "/echo", {{"content-length", "3"}}) + data(1, "ab"), kMalformed},
      {"8.1.1", "the content-length in several DATA frames",
       post(1, "/echo", {{"content-length", "3"}}) + data(1, "a", kNone) + data(1, "b", kNone) +
           data(1, "c"),
       "DATA 1 3 END"},
      {"8.1.1", "a content-length, but no DATA",
       headers(1, request_fields("POST", "/echo", {{"content-length", "1"}})), kMalformed},
      {"8.1.1", "a content-length that is no number",
       post(1, "/echo", {{"content-length", "1x"}}) + data(1, "a"), kMalformed},
      {"8.1.1", "two content-lengths",
       post(1, "/echo", {{"content-length", "1"}, {"content-length", "1"}}) + data(1, "a"),
       kMalformed},
      // --- RFC 7541.
      {"7541 2.3.3", "an index beyond the tables", frame(kHeaders, kWhole, 1, "\x82\x86\x84\xFE"),
       "GOAWAY COMPRESSION_ERROR"},
      {"7541 4.2", "a table size update behind a field",
       frame(kHeaders, kWhole, 1, "\x82\x86\x84\x20"), "GOAWAY COMPRESSION_ERROR"},
      {"7541 5.2", "a Huffman code with padding of more than 7 bits",
       frame(kHeaders, kWhole, 1, "\x82\x86\x84\x41\x84\xFF\xFF\xFF\xFF"),
       "GOAWAY COMPRESSION_ERROR"},
      {"7541 6.1", "index 0", frame(kHeaders, kWhole, 1, "\x80"), "GOAWAY COMPRESSION_ERROR"},
      {"7541 6.3", "a table larger than SETTINGS_HEADER_TABLE_SIZE",
       frame(kHeaders, kWhole, 1, "\x3F\xE1\xFF\x03\x82\x86\x84"), "GOAWAY COMPRESSION_ERROR"},
      {"7541 6.1", "fields from the static table",
       frame(kHeaders, kWhole, 1, std::string("\x82\x86\x84\x41\x09") + "localhost"),
       "HEADERS 1 404"},
  };
  return kCases;
}

const std::vector<Case>& preface_battery() {
  static const std::vector<Case> kCases = {
      {"3.4", "no SETTINGS behind the preface", kPreface + ping(), "GOAWAY PROTOCOL_ERROR"},
      {"3.4", "an acknowledgement in the place of SETTINGS", kPreface + settings_ack(),
       "GOAWAY PROTOCOL_ERROR"},
      {"3.4", "SETTINGS and a request in one go", kPreface + settings() + get(1, "/hello"),
       "HEADERS 1 200"},
      {"6.5.3", "an acknowledgement too many",
       kPreface + settings() + settings_ack() + settings_ack(), "GOAWAY PROTOCOL_ERROR"},
  };
  return kCases;
}

bool satisfies(const std::string& text, const std::string& expected) {
  const std::string lines = "\n" + text;
  std::size_t at = 0;
  while (at <= expected.size()) {
    const std::size_t end = std::min(expected.find('|', at), expected.size());
    const std::string one = expected.substr(at, end - at);
    at = end + 1;
    if (one.rfind("GOAWAY ", 0) == 0) {
      for (std::size_t line = lines.find("\nGOAWAY "); line != std::string::npos;
           line = lines.find("\nGOAWAY ", line + 1)) {
        const std::size_t stop = lines.find('\n', line + 1);
        if (lines.substr(line, stop - line).ends_with(" " + one.substr(7))) return true;
      }
    } else if (lines.find("\n" + one + "\n") != std::string::npos ||
               lines.find("\n" + one + " END\n") != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace vigil::test::h2
