// recoverer: an exception from a handler becomes a log record and 500.
//
//   Handler root = chain(router, {recoverer({.sink = &sink})});
//
// The engine by itself answers 500 too, and logs what it knows. This adds what only somebody near
// the handler knows, and the stack of the throw where the program has asked for it.
#pragma once

#include <exception>
#include <functional>
#include <string>

#include "base/log.h"
#include "server-core/middleware.h"

namespace vigil::http {

struct RecovererOptions {
  // Gets one record for each exception: level error, source "recoverer", msg "exception from a
  // handler" with exception (the type), what, method, path, route, task, request_id and stack. Must
  // outlive the handler. Required.
  LogSink* sink = nullptr;

  // The stack of the throw as text, for the record; empty where it is not known. Called in the
  // catch handler, when the frames between the throw and here are gone: nothing in the C++ runtime
  // keeps them. A program that wants them links vigil::throw_stack and asks
  // sampler::throw_stack_of() here. Without it the record has no stack: route and task say where to
  // look.
  std::function<std::string(const std::exception_ptr&)> stack_of_throw = nullptr;
};

// Answers 500 with an empty explanation if nothing is out yet: what the handler had written is
// forgotten, the exception's text stays in the log (P1.24). If the head is out the connection is
// cut, by AbortHandler. An AbortHandler of the handler's own, and the unwinding of a cancelled
// thread, pass through.
// Cost where nothing is thrown: none.
Middleware recoverer(RecovererOptions options);

}  // namespace vigil::http
