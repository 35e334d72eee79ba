#include "server-core/recoverer.h"

#include <cxxabi.h>

#include <cassert>
#include <cstdlib>
#include <memory>
#include <typeinfo>

#include "leakwatch/task_registry.h"
#include "server-core/request_log.h"

namespace vigil::http {
namespace {

// The name of the exception that is being handled: "std::runtime_error".
std::string current_exception_name() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "foreign exception";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? readable.get() : type->name();
}

// In the catch handler.
void recover(const RecovererOptions& options, std::string_view what, leakwatch::TaskId task,
             ResponseWriter& response, const Request& request) {
  const std::string type = current_exception_name();
  const std::string stack =
      options.stack_of_throw ? options.stack_of_throw(std::current_exception()) : std::string();
  Logger(*options.sink, "recoverer")
      .error("exception from a handler", {{"exception", type},
                                          {"what", what},
                                          {"method", request.method()},
                                          {"path", request.raw_path()},
                                          {"route", request.route()},
                                          {"task", static_cast<std::uint64_t>(task)},
                                          {"request_id", request_id(request)},
                                          {"stack", stack}});
  if (!response.reset()) throw AbortHandler{};
  if (const std::string_view id = request_id(request); !id.empty()) {
    response.headers().set(kRequestIdHeader, id);
  }
  write_error(response, 500);
}

}  // namespace

Middleware recoverer(RecovererOptions options) {
  assert(options.sink != nullptr);
  return [options = std::move(options)](Handler next) -> Handler {
    return [options, next = std::move(next)](ResponseWriter& response, Request& request) {
      // Around the router this is none; the route says it then.
      const leakwatch::TaskId task = leakwatch::Task::current();
      try {
        next(response, request);
      } catch (const abi::__forced_unwind&) {
        throw;
      } catch (const AbortHandler&) {
        throw;
      } catch (const std::exception& error) {
        recover(options, error.what(), task, response, request);
      } catch (...) {
        recover(options, "", task, response, request);
      }
    };
  };
}

}  // namespace vigil::http
