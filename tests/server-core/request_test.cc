// Request without a server: body limits and forms.
#include "server-core/request.h"

#include <string>
#include <vector>

#include "server-core/response_writer.h"
#include "tests/server-core/body_transport.h"
#include "tests/support/catch.h"

using namespace vigil;
using namespace vigil::http;
using vigil::test::BodyTransport;

namespace {

struct Fixture {
  explicit Fixture(std::string body, std::vector<HeaderField> header_fields = {},
                   std::string_view method = "POST")
      : fields(std::move(header_fields)) {
    transport.body = std::move(body);
    Request::Head head;
    head.method = method;
    head.headers = HeaderList(fields);
    REQUIRE(request.reset(head, transport, MonotonicTime{}));
  }
  // The body, or the error's name.
  std::string read() {
    Result<std::string> body = request.read_all(1 << 20);
    return body ? *body : std::string(error_code_name(body.error().code()));
  }
  // "a=1&b=2" of the form's fields, or the error's name.
  std::string form(std::size_t max_bytes = Request::kFormBytesMax) {
    Result<const QueryParams*> params = request.form(max_bytes);
    if (!params) return std::string(error_code_name(params.error().code()));
    std::string text;
    for (const auto& [name, value] : **params) text += name + "=" + value + ";";
    return text;
  }

  std::vector<HeaderField> fields;
  BodyTransport transport;
  Request request;
};

const HeaderField kForm{"Content-Type", "application/x-www-form-urlencoded"};
const HeaderField kChunked{"Transfer-Encoding", "chunked"};

}  // namespace

TEST_CASE("limit_body: one before, at, and one after the limit, in pieces of every size") {
  for (std::size_t piece : {1u, 2u, 5u, 100u}) {
    for (std::size_t size : {9u, 10u, 11u}) {
      Fixture f(std::string(size, 'b'), {kChunked});
      f.transport.piece = piece;
      f.request.limit_body(10);
      INFO("piece " << piece << ", size " << size);
      CHECK(f.read() == (size <= 10 ? std::string(size, 'b') : "resource_exhausted"));
      CHECK(f.transport.refused == (size > 10));
      CHECK(f.transport.at <= 11);
      CHECK(f.read() == (size <= 10 ? "" : "resource_exhausted"));
    }
  }
}

TEST_CASE("limit_body: an announced length is refused before anything is read") {
  Fixture f("0123456789a", {{"Content-Length", "11"}});
  f.request.limit_body(10);
  CHECK(f.read() == "resource_exhausted");
  CHECK(f.transport.reads == 0);
  Fixture fits("0123456789", {{"Content-Length", "10"}});
  fits.request.limit_body(10);
  CHECK(fits.read() == "0123456789");
}

TEST_CASE("limit_body: the lowest holds, and it counts from the call on") {
  Fixture f("0123456789", {{"Content-Length", "10"}});
  std::vector<char> four(4);
  f.transport.piece = 4;
  REQUIRE(f.request.read(four).ok());
  f.request.limit_body(6);
  f.request.limit_body(100);
  CHECK(f.read() == "456789");
  Fixture narrow("0123456789", {{"Content-Length", "10"}});
  narrow.transport.piece = 4;
  REQUIRE(narrow.request.read(four).ok());
  narrow.request.limit_body(UINT64_MAX);
  narrow.request.limit_body(5);
  CHECK(narrow.read() == "resource_exhausted");
  Fixture none("", {});
  none.request.limit_body(0);
  CHECK(none.read().empty());
}

TEST_CASE("a request object that is used again has no limit, form or context of the last one") {
  Fixture f("a=1", {kForm, {"Content-Length", "3"}});
  f.request.limit_body(1);
  CHECK(f.form() == "resource_exhausted");
  f.transport.body = "b=2";
  f.transport.at = 0;
  Request::Head head;
  head.method = "POST";
  head.headers = HeaderList(f.fields);
  REQUIRE(f.request.reset(head, f.transport, MonotonicTime{}));
  CHECK(f.form() == "b=2;");
}

TEST_CASE("form: decoded, cached, apart from the query, broken escapes counted") {
  Fixture f("a=1&b=x%20y+z&a=2&bad=%zz", {kForm, kChunked});
  CHECK(f.form() == "a=1;b=x y z;a=2;");
  CHECK((*f.request.form())->malformed() == 1);
  CHECK((*f.request.form())->get("a") == "1");
  const int reads = f.transport.reads;
  CHECK(f.form() == "a=1;b=x y z;a=2;");
  CHECK(f.transport.reads == reads);
  CHECK_FALSE(f.request.query("a").has_value());
}

TEST_CASE("form: types, methods, limits") {
  CHECK(Fixture("a=1", {{"Content-Type", "Application/X-WWW-form-urlencoded ; charset=utf-8"},
                        {"Content-Length", "3"}})
            .form() == "a=1;");
  CHECK(Fixture("a=1", {{"Content-Type", "text/plain"}, kChunked}).form() == "unsupported");
  CHECK(
      Fixture("a=1", {{"Content-Type", "application/x-www-form-urlencoded-2"}, kChunked}).form() ==
      "unsupported");
  CHECK(Fixture("a=1", {kChunked}).form() == "unsupported");
  CHECK(Fixture("", {}).form().empty());
  CHECK(Fixture("", {{"Content-Length", "0"}}).form().empty());
  CHECK(Fixture("a=1", {kForm, kChunked}, "GET").form().empty());
  CHECK(Fixture("a=1", {kForm, kChunked}, "PUT").form() == "a=1;");
  CHECK(Fixture("a=1", {kForm, kChunked}, "PATCH").form() == "a=1;");
  CHECK(Fixture("a=1", {kForm, kChunked}).form(3) == "a=1;");
  Fixture f("a=12", {kForm, kChunked});
  CHECK(f.form(3) == "resource_exhausted");
  CHECK(f.transport.refused);
  CHECK(f.form(1000) == "resource_exhausted");  // what has been read is gone
}

TEST_CASE("each error of a body that could not be read has its status") {
  CHECK(body_error_status(Error(ErrorCode::kDeadlineExceeded, "")) == 408);
  CHECK(body_error_status(Error(ErrorCode::kResourceExhausted, "")) == 413);
  CHECK(body_error_status(Error(ErrorCode::kUnsupported, "")) == 415);
  CHECK(body_error_status(Error(ErrorCode::kInvalidArgument, "")) == 400);
  CHECK(body_error_status(Error(ErrorCode::kClosed, "")) == 400);
}
