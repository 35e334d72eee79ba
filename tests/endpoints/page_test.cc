#include "endpoints/page.h"

#include "endpoints/profile_formats.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

PageRequest request_of(std::string_view query) {
  PageRequest request;
  request.raw_query = query;
  request.query = http::QueryParams::parse(query);
  return request;
}

TEST_CASE("errors carry what go tool pprof needs to print them") {
  const Page page = error_page(404, "Unknown profile");
  CHECK(page.status == 404);
  CHECK(page.body == "Unknown profile\n");
  CHECK(page.content_type == "text/plain; charset=utf-8");
  CHECK(page.pprof_error);
  CHECK(page.attachment.empty());
}

TEST_CASE("each error code has its status") {
  const auto status = [](ErrorCode code) { return error_page(Error(code, "x")).status; };
  CHECK(status(ErrorCode::kInvalidArgument) == 400);
  CHECK(status(ErrorCode::kPermissionDenied) == 403);
  CHECK(status(ErrorCode::kNotFound) == 404);
  CHECK(status(ErrorCode::kClosed) == 408);
  CHECK(status(ErrorCode::kBusy) == 429);
  CHECK(status(ErrorCode::kUnsupported) == 501);
  CHECK(status(ErrorCode::kSystem) == 500);
}

TEST_CASE("debug is an integer, anything else is 0, as in Go") {
  CHECK(lenient_integer(request_of("debug=2"), "debug") == 2);
  CHECK(lenient_integer(request_of(""), "debug") == 0);
  CHECK(lenient_integer(request_of("debug=x"), "debug") == 0);
  CHECK(lenient_integer(request_of("debug=-1"), "debug") == 0);
}

TEST_CASE("P7.6 seconds is 1 up to the cap, with Go's sentence for what is no positive integer") {
  CHECK(*seconds_parameter(request_of(""), 300) == std::nullopt);
  CHECK(*seconds_parameter(request_of("seconds=1"), 300) == 1);
  CHECK(*seconds_parameter(request_of("seconds=300"), 300) == 300);
  for (const char* query :
       {"seconds=0", "seconds=-1", "seconds=x", "seconds=", "seconds=1.5", "seconds=99999999999"}) {
    INFO(query);
    const auto seconds = seconds_parameter(request_of(query), 300);
    REQUIRE_FALSE(seconds.ok());
    CHECK(seconds.error().code() == ErrorCode::kInvalidArgument);
    CHECK(seconds.error().message() ==
          "invalid value for \"seconds\" - must be a positive integer");
  }
  const auto above = seconds_parameter(request_of("seconds=301"), 300);
  REQUIRE_FALSE(above.ok());
  CHECK(above.error().message().find("300") != std::string::npos);
}

TEST_CASE("format: proto by default, debug asks for text, an unknown one gets the list") {
  CHECK(*profile_format(request_of("")) == ProfileFormat::kProto);
  CHECK(*profile_format(request_of("debug=1")) == ProfileFormat::kText);
  CHECK(*profile_format(request_of("debug=x")) == ProfileFormat::kProto);
  CHECK(*profile_format(request_of("format=proto&debug=1")) == ProfileFormat::kProto);
  CHECK(*profile_format(request_of("format=pprof")) == ProfileFormat::kProto);
  CHECK(*profile_format(request_of("format=text")) == ProfileFormat::kText);
  CHECK(*profile_format(request_of("format=folded")) == ProfileFormat::kFolded);
  CHECK(*profile_format(request_of("format=flame")) == ProfileFormat::kFlame);
  for (const char* query : {"format=", "format=svg", "format=Flame"}) {
    const auto format = profile_format(request_of(query));
    REQUIRE_FALSE(format);
    CHECK(format.error().code() == ErrorCode::kInvalidArgument);
    CHECK(format.error().message().find("proto, pprof, text, folded, flame") != std::string::npos);
  }
}

}  // namespace
}  // namespace vigil::endpoints
