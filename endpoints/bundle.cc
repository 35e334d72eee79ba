#include "endpoints/bundle.h"

#include <exception>
#include <memory>
#include <new>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "base/signal_mask.h"
#include "endpoints/about.h"
#include "endpoints/conns.h"
#include "endpoints/contention.h"
#include "endpoints/leakcheck.h"
#include "endpoints/locks.h"
#include "endpoints/metrics.h"
#include "endpoints/process.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
#include "endpoints/tar_gz.h"
#include "endpoints/tasks.h"
#include "endpoints/trace.h"

namespace vigil::endpoints {
namespace {

using Render = Page (*)(const PageRequest&, const Services&);

struct BundleFile {
  const char* name;
  Render render;
  const char* query = "";
};

constexpr BundleFile kAtOnce[] = {
    {"buildinfo.txt", build_info_page},
    {"cmdline", cmdline_page},
    {"stacks.txt", goroutine_page, "debug=2"},
    {"tasks.json", tasks_page, "format=json"},
    {"stuck.json", leakwatch_page, "format=json"},
    {"stuck.txt", leakwatch_page},
    {"locks.txt", locks_page},
    {"connections.txt", connections_page},
    {"metrics.prom", metrics_page},
    {"vars.json", vars_page},
    {"leakcheck.json", leakcheck_page},
    {"maps", maps_page},
    {"goroutine.pb.gz", goroutine_page},
    {"heap.pb.gz", snapshot_page<take_heap>},
    {"allocs.pb.gz", snapshot_page<take_allocs>},
    {"growth.pb.gz", snapshot_page<take_growth>},
    {"mutex.pb.gz", snapshot_page<take_mutex>},
    {"block.pb.gz", snapshot_page<take_block>},
    {"threadcreate.pb.gz", snapshot_page<take_threadcreate>},
};

// These take their seconds, each on a thread of its own.
constexpr BundleFile kCaptures[] = {
    {"cpu.pb.gz", cpu_profile_page},
    {"wall.pb.gz", wall_profile_page},
    {"trace.json", trace_page},
    {"allocs-delta.pb.gz", snapshot_page<take_allocs>},
    {"mutex-delta.pb.gz", snapshot_page<take_mutex>},
    {"block-delta.pb.gz", snapshot_page<take_block>},
};

// A page that throws is a file that failed, not the end of the bundle.
Page render(const BundleFile& file, const std::string& query, std::stop_token stop,
            const Services& services) {
  try {
    return file.render({.path = file.name,
                        .raw_query = query,
                        .query = http::QueryParams::parse(query),
                        .client = "bundle",
                        .stop = std::move(stop)},
                       services);
  } catch (const std::exception& error) {
    return error_page(500, error.what());
  }
}

// One capture on its thread; without a thread it says so.
class Capture {
 public:
  Capture(const BundleFile& file, int seconds, std::stop_token stop, const Services& services)
      : file_(file) {
    const SignalMaskGuard guard = SignalMaskGuard::program_signals();
    try {
      thread_ = std::thread([this, seconds, stop, &services] {
        page_ = render(file_, fmt::format("seconds={}", seconds), stop, services);
      });
    } catch (const std::system_error&) {
      page_ = error_page(500, "no thread for this capture");
    }
  }
  ~Capture() { join(); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  const Page& wait() {
    join();
    return page_;
  }
  const char* name() const { return file_.name; }

 private:
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  const BundleFile& file_;
  Page page_;
  std::thread thread_;
};

Result<void> add(TarGz& tar, std::string name, const Page& page, const Services& services) {
  if (page.status != 200) name += ".error";
  return tar.add(name, page.body, services.clock.wall_now());
}

// Stops what it is given when it goes: declared after the captures, it does so before they are waited
// for.
struct StopAtEnd {
  std::stop_source& stop;
  ~StopAtEnd() { stop.request_stop(); }
};

Result<void> write_files(TarGz& tar, int seconds, std::stop_source& stop_source,
                         const Services& services) {
  const std::stop_token stop = stop_source.get_token();
  std::vector<std::unique_ptr<Capture>> captures;
  const StopAtEnd stop_at_end{stop_source};
  for (const BundleFile& file : kCaptures) {
    captures.push_back(std::make_unique<Capture>(file, seconds, stop, services));
  }
  for (const BundleFile& file : kAtOnce) {
    const Page page = render(file, file.query, stop, services);
    if (Result<void> added = add(tar, file.name, page, services); !added) return added;
  }
  for (const auto& capture : captures) {
    if (Result<void> added = add(tar, capture->name(), capture->wait(), services); !added) {
      return added;
    }
  }
  return tar.finish();
}

// The captures end early when the client has gone, or nobody takes the archive.
Result<void> write_bundle(const PageWriter& write, int seconds, const std::stop_token& gone,
                          const Services& services) {
  Result<TarGz> tar = TarGz::create(write);
  if (!tar) return std::move(tar).error();
  std::stop_source stop;
  const std::stop_callback forward(gone, [&stop] { stop.request_stop(); });
  try {
    return write_files(*tar, seconds, stop, services);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kResourceExhausted, "out of memory");
  }
}

}  // namespace

Page bundle_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  // Asked for before the head is out: what the library lacks is a status, not a broken archive.
  if (Result<TarGz> probe = TarGz::create([](std::string_view) { return Result<void>(); });
      !probe) {
    return error_page(probe.error());
  }
  Page page;
  page.content_type = "application/gzip";
  page.attachment = "vigil-bundle.tar.gz";
  page.stream = [length = seconds->value_or(kBundleSeconds), gone = request.stop,
                 &services](const PageWriter& write) {
    return write_bundle(write, length, gone, services);
  };
  return page;
}

}  // namespace vigil::endpoints
