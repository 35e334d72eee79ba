// HTTP/2's protocol by itself: what bytes do to a session.
#include "server-core/http2_session.h"

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/http2_battery.h"
#include "tests/support/http2_echo.h"
#include "tests/support/http2_frames.h"

namespace {

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using vigil::test::Http2Echo;
namespace h2 = vigil::test::h2;

const std::string kHello = h2::kPreface + h2::settings();

Http2Session::Limits small_limits() {
  Http2Session::Limits limits;
  limits.streams_max = 3;
  limits.header_bytes_max = 1024;
  limits.header_fields_max = 16;
  limits.stream_window = 100;
  limits.connection_window = 65'535;
  return limits;
}

// A session with a peer that reads all that it is sent.
struct Talk {
  explicit Talk(const Http2Session::Limits& limits = {}) : echo(limits) {}

  // What comes back for `bytes`, as text. `piece`: how much of them at once.
  std::string say(std::string_view bytes, std::size_t piece = std::string_view::npos) {
    while (!bytes.empty()) {
      reader.feed(echo.exchange(bytes.substr(0, piece), now));
      bytes.remove_prefix(std::min(piece, bytes.size()));
    }
    return reader.take_text();
  }
  std::string hello() {
    say(kHello);
    return say(reader.take_answers());
  }

  Http2Echo echo;
  h2::Reader reader;
  MonotonicTime now{};
};

}  // namespace

TEST_CASE("P5.1 every frame and sequence of the battery gets what its section says") {
  for (const h2::Case& each : h2::battery()) {
    INFO(each.section << ": " << each.name);
    Talk talk;
    talk.hello();
    const std::string text = talk.say(each.sent);
    INFO(text);
    CHECK(talk.reader.sound());
    CHECK(h2::satisfies(text, each.expected));
    // A malformed request must not have been served.
    if (each.expected.find("HEADERS 1 400") != std::string::npos) {
      CHECK(text.find("HEADERS 1 200") == std::string::npos);
    }
    const bool fatal =
        each.expected.rfind("GOAWAY", 0) == 0 && each.expected.find('|') == std::string::npos;
    if (fatal) CHECK(talk.echo.session().ended());
  }
}

TEST_CASE("however much may be sent, produce() gives its limit and at most a frame more") {
  constexpr std::size_t kLimit = 32 * 1024;
  constexpr std::size_t kFrameMax = 9 + 16 * 1024;
  constexpr std::uint16_t kInitialWindowSize = 4;
  constexpr std::uint32_t kWindow = 0x7FFFFFFF;
  Talk talk;
  talk.say(h2::kPreface + h2::settings({{kInitialWindowSize, kWindow}}));
  talk.say(talk.reader.take_answers() + h2::window_update(0, kWindow - 65'535) +
           h2::get(1, "/hold"));
  Http2Stream& stream = *talk.echo.held();
  Http2Session& session = talk.echo.session();
  session.respond(stream, 200, {}, Http2Session::Body::kFollows);
  std::string body(1'000'000, ' ');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i / 1000 % 26);
  stream.out = body;
  session.out_ended(stream);
  std::size_t pieces = 0;
  std::size_t longest = 0;
  std::string out;
  for (session.produce(out, kLimit); !out.empty(); session.produce(out, kLimit)) {
    ++pieces;
    longest = std::max(longest, out.size());
    talk.reader.feed(out);
    out.clear();
  }
  CHECK(longest > kLimit / 2);
  CHECK(longest < kLimit + kFrameMax);
  CHECK(pieces > body.size() / (kLimit + kFrameMax));
  CHECK(talk.reader.sound());
  const auto& response = talk.reader.response(1);
  CHECK(response.ended);
  CHECK(response.body == body);
}

TEST_CASE("P5.1 the battery's answers do not depend on how the bytes are cut") {
  for (const h2::Case& each : h2::battery()) {
    INFO(each.section << ": " << each.name);
    Talk whole, cut;
    whole.hello();
    cut.hello();
    const std::string text = whole.say(each.sent);
    const std::string cut_text = cut.say(each.sent, 1);
    INFO(text << "--\n" << cut_text);
    CHECK(h2::satisfies(cut_text, each.expected));
    CHECK(whole.echo.served() == cut.echo.served());
  }
}

TEST_CASE("P5.1 what comes instead of the preface and SETTINGS") {
  for (const h2::Case& each : h2::preface_battery()) {
    INFO(each.section << ": " << each.name);
    Talk talk;
    const std::string text = talk.say(each.sent);
    INFO(text);
    CHECK(h2::satisfies(text, each.expected));
  }
  Talk talk;
  CHECK(h2::satisfies(talk.say("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), "GOAWAY PROTOCOL_ERROR"));
}

TEST_CASE("P5.2 a session announces its limits") {
  Talk talk(small_limits());
  talk.hello();
  CHECK(talk.reader.settings().at(3) == 3);
  CHECK(talk.reader.settings().at(4) == 100);
  CHECK(talk.reader.settings().at(6) == 1024);
}

TEST_CASE("P5.2 one stream too many is refused, and the others go on") {
  Talk talk(small_limits());
  talk.hello();
  CHECK(talk.say(h2::get(1, "/hold") + h2::get(3, "/hold") + h2::get(5, "/hold")) == "");
  CHECK(talk.say(h2::get(7, "/hello")) == "RST 7 REFUSED_STREAM\n");
  CHECK(talk.say(h2::rst(1) + h2::get(9, "/hello")) == "HEADERS 9 200\nDATA 9 6 END\n");
  CHECK(talk.echo.served() == 4);
}

TEST_CASE("P5.2 a header list: 431 beyond the limit, served at it") {
  Talk talk(small_limits());
  talk.hello();
  // RFC 9113 §6.5.2: names, values and 32 bytes a field.
  std::size_t size = 0;
  for (const auto& [name, value] : h2::request_fields("GET", "/hello")) {
    size += name.size() + value.size() + 32;
  }
  const std::size_t room = 1024 - size - 33;
  CHECK(talk.say(h2::get(1, "/hello", {{"x", std::string(room, 'a')}})) ==
        "HEADERS 1 200\nDATA 1 6 END\n");
  CHECK(talk.say(h2::get(3, "/hello", {{"x", std::string(room + 1, 'a')}})) ==
        "HEADERS 3 431 END\n");
  CHECK(talk.echo.session().take_counted(Http2Abuse::kHeaderList) == 1);
  // A name that comes behind the limit is lost, not taken for missing.
  CHECK(talk.say(h2::headers(5, {{"x", std::string(1024, 'a')}})).find("200") == std::string::npos);
  CHECK(talk.say(h2::get(7, "/hello")) == "HEADERS 7 200\nDATA 7 6 END\n");
}

TEST_CASE("P5.2 fields: 431 beyond max_header_fields, served at it") {
  Http2Session::Limits limits = small_limits();
  limits.header_bytes_max = 64 * 1024;
  Talk talk(limits);
  talk.hello();
  const auto many = [](std::size_t count) {
    h2::Fields fields;
    for (std::size_t i = 0; i < count; ++i) fields.emplace_back("x", "y");
    return fields;
  };
  // One of the 16 is the Host field that stands for :authority.
  CHECK(talk.say(h2::get(1, "/hello", many(15))) == "HEADERS 1 200\nDATA 1 6 END\n");
  CHECK(talk.say(h2::get(3, "/hello", many(16))) == "HEADERS 3 431 END\n");
  CHECK(talk.say(h2::get(5, "/hello", many(100))) == "HEADERS 5 431 END\n");
}

TEST_CASE("P5.4 an HPACK bomb ends the connection") {
  Talk talk(small_limits());
  talk.hello();
  // A field of 900 bytes goes into the dynamic table, and then each byte stands for it.
  std::string bomb = h2::block(h2::request_fields("GET", "/hello"));
  bomb += std::string("\x40\x01x\x7F") + std::string("\x85\x06") + std::string(900, 'a');
  bomb += std::string(10'000, '\xBE');
  CHECK(talk.say(h2::frame(h2::kHeaders, h2::kWhole, 1, bomb)) == "GOAWAY 1 ENHANCE_YOUR_CALM\n");
  CHECK(talk.echo.session().guard().abuse() == Http2Abuse::kHeaderBomb);
  CHECK(talk.echo.served() == 0);
  CHECK(talk.echo.session().ended());
}

TEST_CASE("P5.3 floods of every kind end the connection") {
  struct Flood {
    Http2Abuse kind;
    const char* name;
    std::string (*event)(std::uint32_t i);
    std::uint32_t allowed;  // at once
  };
  const Http2Guard::Rates rates;
  const Flood floods[] = {
      {Http2Abuse::kRapidReset, "HEADERS and RST_STREAM",
       [](std::uint32_t i) { return h2::get(2 * i + 1, "/hold") + h2::rst(2 * i + 1); },
       rates.rapid_reset.burst},
      {Http2Abuse::kProvokedReset, "a stream window too large (MadeYouReset)",
       [](std::uint32_t i) {
         return h2::get(2 * i + 1, "/hold") + h2::window_update(2 * i + 1, 0x7FFFFFFF);
       },
       rates.provoked_reset.burst},
      {Http2Abuse::kProvokedReset, "malformed requests",
       [](std::uint32_t i) {
         return h2::get(2 * i + 1, "/hold", {{"Upper", "x"}});
       },
       rates.provoked_reset.burst},
      {Http2Abuse::kSettings, "SETTINGS",
       [](std::uint32_t) {
         return h2::settings({{1, 0}});
       },
       rates.settings.burst - 2},  // the preface's, and the acknowledgement
      {Http2Abuse::kPing, "PING", [](std::uint32_t) { return h2::ping(); }, rates.ping.burst},
      {Http2Abuse::kPing, "PING with ACK",
       [](std::uint32_t) { return h2::ping("12345678", h2::kAck); }, rates.ping.burst},
      {Http2Abuse::kPriority, "PRIORITY",
       [](std::uint32_t i) {
         return h2::frame(h2::kPriority, 0, 2 * i + 1, h2::number(0) + "\x10");
       },
       rates.priority.burst},
      {Http2Abuse::kWindowUpdate, "WINDOW_UPDATE",
       [](std::uint32_t) { return h2::window_update(0, 1); }, rates.window_update.burst},
      {Http2Abuse::kHeaderList, "header lists over the limit",
       [](std::uint32_t i) {
         return h2::get(2 * i + 1, "/hold", {{"x", std::string(1500, 'a')}});
       },
       rates.header_list.burst},
  };
  for (const Flood& flood : floods) {
    INFO(flood.name);
    Http2Session::Limits limits;
    limits.header_bytes_max = 1024;
    Talk talk(limits);
    talk.hello();
    for (std::uint32_t i = 0; i < flood.allowed; ++i) talk.say(flood.event(i));
    CHECK(talk.reader.goaways().empty());
    const std::string text = talk.say(flood.event(flood.allowed));
    INFO(text);
    CHECK(h2::satisfies(text, "GOAWAY ENHANCE_YOUR_CALM"));
    CHECK(talk.echo.session().guard().abuse() == flood.kind);
    CHECK(talk.echo.session().ended());
    // The buckets fill: the same events, spread out, are no abuse.
    Talk slow(limits);
    slow.hello();
    for (std::uint32_t i = 0; i < 2 * flood.allowed; ++i) {
      slow.now += 100ms;
      slow.say(flood.event(i));
    }
    CHECK(slow.reader.goaways().empty());
  }
}

TEST_CASE("P5.3 empty DATA frames end the connection, empty or only padding") {
  const std::uint32_t allowed = Http2Guard::Rates().empty_data.burst;
  for (const std::string& empty :
       {h2::data(1, "", h2::kNone),
        h2::frame(h2::kData, h2::kPadded, 1, std::string("\x05\0\0\0\0\0", 6))}) {
    Talk talk;
    talk.hello();
    talk.say(h2::post(1, "/hold"));
    for (std::uint32_t i = 0; i < allowed; ++i) talk.say(empty);
    CHECK(talk.reader.goaways().empty());
    CHECK(talk.say(empty) == "GOAWAY 1 ENHANCE_YOUR_CALM\n");
    CHECK(talk.echo.session().guard().abuse() == Http2Abuse::kEmptyData);
  }
}

TEST_CASE("P5.3 a header block in very many CONTINUATION frames ends the connection") {
  for (const std::string& field : {h2::block({{"x", "y"}}), std::string()}) {
    Talk talk;
    talk.hello();
    std::string flood =
        h2::frame(h2::kHeaders, h2::kEndStream, 1, h2::block(h2::request_fields("GET", "/hello")));
    for (int i = 0; i < 100; ++i) flood += h2::frame(h2::kContinuation, 0, 1, field);
    CHECK(talk.say(flood) == "GOAWAY 1 ENHANCE_YOUR_CALM\n");
    CHECK(talk.echo.session().guard().abuse() == Http2Abuse::kContinuation);
    CHECK(talk.echo.served() == 0);
  }
}

TEST_CASE("P5.3 answers that a peer provokes and does not read are bounded") {
  Http2Session::Limits limits;
  limits.rates.ping = {};  // the other guard shall see it
  Http2Echo echo(limits);
  std::string flood = kHello;
  for (int i = 0; i < 20'000; ++i) flood += h2::ping();
  echo.session().receive(flood, {});
  CHECK(echo.session().guard().abuse() == Http2Abuse::kUnread);
  CHECK(echo.send().size() < 64 * 1024);
}

TEST_CASE("window updates beyond what a window can be are counted") {
  Talk talk;
  talk.hello();
  talk.say(h2::get(1, "/hold") + h2::window_update(1, 0x7FFFFFFF));
  talk.say(h2::window_update(0, 0x7FFFFFFF));
  CHECK(talk.echo.session().take_counted(Http2Abuse::kWindowOverflow) == 2);
}

TEST_CASE("a download's window updates are no flood") {
  Talk talk;
  talk.hello();
  talk.say(h2::settings({{4, 1}}));
  for (std::uint32_t i = 0; i < 5000; ++i) {
    talk.say(h2::get(2 * i + 1, "/hello"));
    for (int j = 0; j < 5; ++j) talk.say(h2::window_update(2 * i + 1, 1));
  }
  CHECK(talk.reader.goaways().empty());
  CHECK(talk.reader.response(9999).body == "hello\n");
}

TEST_CASE("a request's body: the window is the peer's again only when it has been read") {
  Talk talk(small_limits());
  talk.hello();
  talk.say(h2::post(1, "/hold"));
  CHECK(talk.say(h2::data(1, std::string(100, 'a'), h2::kNone)) == "");
  CHECK(talk.echo.held()->unread_bytes() == 100);
  // Not read: one byte more is an error of the stream or the connection.
  CHECK(h2::satisfies(talk.say(h2::data(1, "b", h2::kNone)),
                      "RST 1 FLOW_CONTROL_ERROR|GOAWAY FLOW_CONTROL_ERROR"));

  Talk reading(small_limits());
  reading.hello();
  reading.say(h2::post(1, "/hold"));
  reading.say(h2::data(1, std::string(100, 'a'), h2::kNone));
  Http2Stream& stream = *reading.echo.held();
  stream.body_read = 100;
  reading.echo.session().consume(stream, 100);
  reading.reader.feed(reading.echo.send());
  CHECK(reading.say(h2::data(1, std::string(100, 'b'), h2::kNone)) == "");
  CHECK(stream.body == std::string(100, 'b'));
}

TEST_CASE("a stream that is reset gives the connection's window back") {
  Http2Session::Limits limits = small_limits();
  limits.stream_window = 60'000;
  Talk talk(limits);
  talk.hello();
  for (std::uint32_t id = 1; id < 100; id += 2) {
    talk.say(h2::post(id, "/hold"));
    for (int i = 0; i < 3; ++i) talk.say(h2::data(id, std::string(16'000, 'a'), h2::kNone));
    talk.say(h2::rst(id));
  }
  CHECK(talk.reader.goaways().empty());
}

TEST_CASE("an answer before the request's end: the rest is not wanted") {
  Talk talk;
  talk.hello();
  CHECK(talk.say(h2::post(1, "/hello")) == "HEADERS 1 200\nDATA 1 6 END\nRST 1 NO_ERROR\n");
  CHECK(talk.say(h2::data(1, "late", h2::kNone) + h2::get(3, "/hello")) ==
        "HEADERS 3 200\nDATA 3 6 END\n");
}

TEST_CASE("a body that a window holds up goes on when the peer gives more") {
  Talk talk;
  talk.hello();
  talk.say(h2::settings({{4, 2}}));
  CHECK(talk.say(h2::get(1, "/hello")) == "HEADERS 1 200\nDATA 1 2\n");
  CHECK(talk.say(h2::window_update(1, 1)) == "DATA 1 1\n");
  CHECK(talk.say(h2::window_update(1, 100)) == "DATA 1 3 END\n");
  CHECK(talk.reader.response(1).body == "hello\n");
}

TEST_CASE("trailers go both ways") {
  Talk talk;
  talk.hello();
  CHECK(talk.say(h2::post(1, "/echo") + h2::data(1, "abc", h2::kNone) +
                 h2::headers(1, {{"x-sum", "7"}})) ==
        "HEADERS 1 200\nDATA 1 3\nHEADERS 1 trailers END\n");
  CHECK(talk.reader.response(1).trailers == h2::Fields{{"x-sum", "7"}});
}

TEST_CASE("a cookie in several fields is one to a handler, and :authority is Host") {
  Talk talk;
  talk.hello();
  talk.say(h2::headers(
      1, h2::request_fields("GET", "/hold", {{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}})));
  const Request::Head& head = talk.echo.held()->head;
  CHECK(head.headers.get("cookie") == "a=1; b=2");
  CHECK(head.headers.count("cookie") == 1);
  CHECK(head.headers.get("host") == "localhost");
  CHECK(head.headers.get("x") == "y");
  CHECK(head.method == "GET");
  CHECK(head.target == "/hold");
  CHECK(head.version == HttpVersion::kHttp2);
}

TEST_CASE("P5.7 the end in two steps") {
  Talk talk;
  talk.hello();
  talk.say(h2::get(1, "/hold"));
  talk.echo.session().announce_end();
  talk.reader.feed(talk.echo.send());
  CHECK(talk.reader.take_text() == "GOAWAY 2147483647 NO_ERROR\nPING\n");
  CHECK_FALSE(talk.echo.session().ping_answered());
  // On its way when the client learnt of it.
  CHECK(talk.say(h2::get(3, "/hello")) == "HEADERS 3 200\nDATA 3 6 END\n");
  talk.say(talk.reader.take_answers());
  CHECK(talk.echo.session().ping_answered());
  talk.echo.session().end_after_streams();
  talk.reader.feed(talk.echo.send());
  CHECK(talk.reader.take_text() == "GOAWAY 3 NO_ERROR\n");
  CHECK(talk.say(h2::get(5, "/hello")) == "");
  CHECK_FALSE(talk.echo.session().ended());
  Http2Stream& held = *talk.echo.held();
  talk.echo.session().respond(held, 204, {}, Http2Session::Body::kNone);
  talk.reader.feed(talk.echo.send());
  CHECK(talk.reader.take_text() == "HEADERS 1 204 END\n");
  CHECK(talk.echo.session().ended());
}

TEST_CASE("a guard's bucket: its burst at once, then its rate") {
  Http2Guard::Rates rates;
  rates.ping = {3, 2};
  Http2Guard guard({}, rates);
  const MonotonicTime start{};
  for (int i = 0; i < 3; ++i) CHECK_FALSE(guard.count(Http2Abuse::kPing, start));
  CHECK_FALSE(guard.abuse());
  CHECK_FALSE(guard.count(Http2Abuse::kPing, start + 500ms));
  CHECK(guard.count(Http2Abuse::kPing, start + 999ms));
  CHECK(guard.abuse() == Http2Abuse::kPing);
  guard.credit(Http2Abuse::kPing, 100);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(guard.count(Http2Abuse::kPing, start + 999ms));
  CHECK(guard.count(Http2Abuse::kPing, start + 999ms));
  // Other kinds have buckets of their own; a rate of 0 is no limit.
  CHECK_FALSE(guard.count(Http2Abuse::kSettings, start));
  for (int i = 0; i < 10; ++i) CHECK_FALSE(guard.count(Http2Abuse::kContinuation, start));
}
