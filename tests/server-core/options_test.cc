// What the options' durations mean, and the presets.
#include <chrono>

#include "base/clock.h"
#include "server-core/engine.h"
#include "server-core/presets.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;

TEST_CASE("P2.7: zero falls back where that is documented, negative is none") {
  ServerOptions options;
  options.read_timeout = 7s;
  options.read_header_timeout = 0s;
  options.idle_timeout = 0s;
  options.write_timeout = 0s;
  Timeouts timeouts = Timeouts::from(options);
  CHECK(timeouts.read == 7s);
  CHECK(timeouts.read_header == 7s);
  CHECK(timeouts.idle == 7s);
  CHECK(timeouts.write == Duration::max());
  CHECK(timeouts.shortest == 7s);

  options.read_header_timeout = ServerOptions::kNone;
  options.idle_timeout = -5s;
  options.write_timeout = -1s;
  timeouts = Timeouts::from(options);
  CHECK(timeouts.read_header == Duration::max());
  CHECK(timeouts.idle == Duration::max());
  CHECK(timeouts.write == Duration::max());
  CHECK(timeouts.read == 7s);

  for (const Duration none : {Duration(0), ServerOptions::kNone}) {
    options.read_timeout = none;
    options.read_header_timeout = 0s;
    options.idle_timeout = 0s;
    timeouts = Timeouts::from(options);
    CHECK(timeouts.read == Duration::max());
    CHECK(timeouts.read_header == Duration::max());
    CHECK(timeouts.idle == Duration::max());
    CHECK(timeouts.shortest == Duration::max());
  }
  CHECK(deadline_after(MonotonicTime(1h), Duration::max()) == kNoDeadline);
  CHECK(deadline_after(MonotonicTime(1h), 1s) == MonotonicTime(1h + 1s));
}

TEST_CASE("P0: the defaults and every preset are finite where a client can hold on to something") {
  for (const ServerOptions& options : {ServerOptions(), json_api(), upload(), streaming()}) {
    const Timeouts timeouts = Timeouts::from(options);
    CHECK(timeouts.read_header <= 10s);
    CHECK(timeouts.read <= 10min);
    CHECK(timeouts.idle <= 120s);
    CHECK(options.max_body_bytes > 0);
    CHECK(options.max_header_bytes <= 64 * 1024);
    CHECK(options.max_header_fields <= 256);
    CHECK(options.max_threads > options.max_in_flight);
  }
  CHECK(Timeouts::from(json_api()).write == 15s);
  CHECK(json_api().max_body_bytes == 1 << 20);
  CHECK(upload().max_body_bytes > (1u << 31));
  CHECK(Timeouts::from(upload()).write == 10min);
  CHECK(Timeouts::from(streaming()).write == Duration::max());
}
