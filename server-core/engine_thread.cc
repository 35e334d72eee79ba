#include "server-core/engine_thread.h"

#include <cxxabi.h>

#include <new>

#include "base/signal_mask.h"
#include "base/thread_id.h"
#include "server-core/engine.h"
#include "server-core/http2_exchange.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

constinit thread_local EngineThread* current_thread = nullptr;

}  // namespace

EngineThread::EngineThread(Engine& engine, std::string name)
    : engine_(engine),
      name_(std::move(name)),
      parser_({engine.options.max_header_bytes, engine.options.max_header_fields}),
      exchange_(*this) {}

EngineThread::~EngineThread() = default;

bool EngineThread::start() {
  // A thread inherits the mask that its creator has at this moment.
  const SignalMaskGuard mask = SignalMaskGuard::program_signals();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (engine_.options.stack_bytes != 0) {
    pthread_attr_setstacksize(&attributes, engine_.options.stack_bytes);
  }
  const int error = pthread_create(&pthread_, &attributes, thread_main, this);
  pthread_attr_destroy(&attributes);
  joined_ = error != 0;
  return error == 0;
}

void EngineThread::join() {
  if (!joined_) pthread_join(pthread_, nullptr);
  joined_ = true;
}

bool EngineThread::prepare_to_lead(ReadBuffer* buffer) noexcept {
  if (!scratch_ && buffer != nullptr) scratch_ = std::move(*buffer);
  // Not value-initialized: what is never received is never touched.
  if (!scratch_) scratch_.reset(new (std::nothrow) char[kScratchBytes]);
  return scratch_ != nullptr;
}

EngineThread* EngineThread::current() { return current_thread; }

void* EngineThread::thread_main(void* self) {
  auto& thread = *static_cast<EngineThread*>(self);
  pthread_setname_np(pthread_self(), thread.name_.c_str());
  thread.run();
  return nullptr;
}

void EngineThread::run() {
  // Also when a handler is cancelled or calls pthread_exit(), which unwinds through here.
  struct Leaving {
    EngineThread& thread;
    ~Leaving() { thread.engine_.pool.thread_ended(thread); }
  } leaving{*this};
  current_thread = this;
  tid_.store(current_thread_id(), std::memory_order_relaxed);
  while (Poller* poller = engine_.pool.wait_for_work(*this)) {
    leading_ = poller;
    poller->lead(*this);
    leading_ = nullptr;
  }
}

MonotonicTime EngineThread::read_clock() {
  now_ = engine_.clock.now();
  return now_;
}

void EngineThread::set_state(Connection& connection, ConnectionState state) {
  if (connection.state == state) return;
  if (connection.state != ConnectionState::kClosed) {
    counters.add(static_cast<Counter>(connection.state), -1);
  }
  if (state != ConnectionState::kClosed) counters.add(static_cast<Counter>(state), 1);
  connection.state = state;
  // That it is closed is told when it really is (Poller::destroy).
  if (!engine_.options.conn_state || state == ConnectionState::kClosed) return;
  const bool unspoken = state == ConnectionState::kNew || state == ConnectionState::kHandshaking;
  announce(connection, unspoken                          ? ConnState::kNew
                       : state == ConnectionState::kIdle ? ConnState::kIdle
                                                         : ConnState::kActive);
}

void EngineThread::announce(Connection& connection, ConnState state) {
  // One that is turned away at a limit never was a connection of the program's.
  if (!engine_.options.conn_state || !connection.counts_toward_limits) return;
  const bool gone = connection.announced == ConnState::kHijacked;  // kClosed follows, untold
  if (gone || connection.announced == state) return;
  connection.announced = state;
  try {
    engine_.options.conn_state(engine_.describe(connection), state);
  } catch (...) {
    engine_.log.error("exception from conn_state", {{"state", conn_state_name(state)}});
  }
}

// Once the handler has ended. A hijacked connection has been given already, at its hijacking, and may
// still be in the inbox: then the leader finds it ended there. It may be gone on return.
void EngineThread::give_back(Connection& connection) {
  Poller& poller = *connection.poller;
  if (connection.flags.load(std::memory_order_relaxed) & Connection::kHijacked) {
    const std::uint32_t before = connection.flags.fetch_or(Connection::kHandlerEnded);
    if (!(before & Connection::kForgotten)) return;
  }
  poller.give(connection);
}

bool EngineThread::hand_over() {
  if (leading_ == nullptr) return true;
  // A stream's handler may wait for long and has no use for the buffer that its head was read into:
  // what came is copied. (Freeing it would leave it in the cache of a thread that sleeps.)
  EngineThread* follower = engine_.pool.take("work", current_->http2 ? &scratch_ : nullptr);
  if (follower == nullptr) {
    counters.add(Counter::kLimitThreads);
    return false;
  }
  Poller& poller = *leading_;
  const bool still_ours = turn_ == 0 || poller.end_inline(turn_);
  turn_ = 0;
  leading_ = nullptr;
  if (still_ours) {
    poller.leave_behind(*current_);
    engine_.pool.run(*follower, poller);
  } else {
    engine_.pool.put_back(*follower);  // the monitor was faster
  }
  return true;
}

bool EngineThread::enter_route(HandlerProfile& profile, leakwatch::TaskId task) {
  profile_ = &profile;
  handler_task_.store(task, std::memory_order_relaxed);
  if (leading_ == nullptr) return true;
  if (profile.runs_inline()) {
    leading_->change_inline_profile(profile);
    return true;
  }
  if (!hand_over()) return false;
  // What the hand-over cost is not the handler's.
  handler_started_ns_.store(read_clock().time_since_epoch().count(), std::memory_order_relaxed);
  return true;
}

// Runs the root handler on this thread: inline if all that is known of it is short, else as an
// ordinary thread.
template <typename AnyExchange>
void EngineThread::call_root(Connection& connection, AnyExchange& exchange) {
  HandlerProfile& root = engine_.root_profile;
  profile_ = &root;
  current_ = &connection;
  handler_task_.store(leakwatch::TaskId::kNone, std::memory_order_relaxed);
  if (leading_ != nullptr) {
    if constexpr (AnyExchange::kOwnsConnection) {
      connection.flags.store(Connection::kOwnedByHandler, std::memory_order_relaxed);
    }
    if (root.runs_inline()) {
      turn_ = leading_->begin_inline(root, connection);
      engine_.monitor.notice_work();
    } else {
      if (!hand_over()) {
        exchange.response().headers().set("Retry-After", "1");
        write_error(exchange.response(), 503, "no thread is free");
        return;
      }
      read_clock();
    }
  }
  handler_started_ns_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  times_.handler = now_;
  invoke_root(connection, exchange);
  const std::int64_t started = handler_started_ns_.exchange(0, std::memory_order_relaxed);
  const Duration took = read_clock().time_since_epoch() - Duration(started);
  times_.handled = now_;
  drop_turn();
  counters.add(leading_ != nullptr ? Counter::kRanInline : Counter::kRanHandedOver);
  profile_->record(took);
  profile_->metrics.record(exchange.response().status_code(), took);
  // The root's own share has ended when the route was entered, or the monitor has noted it.
  if (profile_ != &root) root.record(Duration(0));
}

// The end of an inline handler, in whatever way it came.
void EngineThread::drop_turn() {
  handler_started_ns_.store(0, std::memory_order_relaxed);
  if (turn_ == 0) return;
  if (!leading_->end_inline(turn_)) leading_ = nullptr;  // rescued
  turn_ = 0;
}

template <typename AnyExchange>
void EngineThread::invoke_root(Connection& connection, AnyExchange& exchange) {
  const auto fail = [&](std::string_view type) {
    counters.add(Counter::kHandlerExceptions);
    // The text may carry what the client must not see; the log is ours.
    engine_.log.error("exception from a handler", {{"exception", type},
                                                   {"method", exchange.request().method()},
                                                   {"path", exchange.request().path()}});
    exchange.abandon_response();
  };
  try {
    engine_.root(exchange.response(), exchange.request());
  } catch (const abi::__forced_unwind&) {
    // The handler's thread is being cancelled: the connection goes, polling goes on elsewhere, and
    // so must this.
    (void)hand_over();
    end_cancelled(connection, exchange);
    handler_started_ns_.store(0, std::memory_order_relaxed);
    throw;
  } catch (const AbortHandler&) {
    // Whoever threw it has said what there is to say.
    counters.add(Counter::kHandlerExceptions);
    exchange.abandon_response();
  } catch (const std::exception& error) {
    fail(error.what());
  } catch (...) {
    fail("not a std::exception");
  }
}

void EngineThread::end_cancelled(Connection& connection, Exchange& exchange) {
  exchange.end_handler();
  set_state(connection, ConnectionState::kClosed);
  give_back(connection);
}

void EngineThread::end_cancelled(Connection&, Http2Exchange& exchange) { exchange.cancel(); }

// The slot comes free however the handler ends.
template <typename AnyExchange>
void EngineThread::call_root_in_slot(Connection& connection, AnyExchange& exchange) {
  struct Slot {
    FlightLimit& flight;
    ~Slot() { flight.leave(); }
  } slot{engine_.flight};
  call_root(connection, exchange);
}

template void EngineThread::call_root_in_slot(Connection& connection, Exchange& exchange);
template void EngineThread::call_root_in_slot(Connection& connection, Http2Exchange& exchange);

void EngineThread::prepare_context(Connection& connection) {
  if (!engine_.options.conn_context || connection.has_context) return;
  connection.has_context = true;
  try {
    connection.context =
        engine_.options.conn_context(engine_.options.base_context, engine_.describe(connection));
  } catch (...) {
    counters.add(Counter::kHandlerExceptions);
    engine_.log.error("exception from conn_context", {});
    connection.context = engine_.options.base_context;
  }
}

std::optional<RunningHandler> EngineThread::running_handler(MonotonicTime now) const {
  const std::int64_t started = handler_started_ns_.load(std::memory_order_relaxed);
  if (started == 0) return std::nullopt;
  RunningHandler handler;
  handler.age = now.time_since_epoch() - Duration(started);
  handler.tid = tid_.load(std::memory_order_relaxed);
  handler.task = handler_task_.load(std::memory_order_relaxed);
  if (auto task = engine_.registry.find(handler.task)) handler.label = task->label;
  return handler;
}

}  // namespace vigil::http
