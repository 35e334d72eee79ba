// ConnectionList: connections in a row, linked through themselves, so that putting one in cannot
// fail for want of memory.
#pragma once

#include "server-core/connection.h"

namespace vigil::http {

// A connection is in one list at a time: it waits for a slot, or for its poller's leader, or for
// the end of the batch. Owns nothing. Not thread-safe.
class ConnectionList {
 public:
  bool empty() const { return first_ == nullptr; }

  void push_back(Connection& connection) {
    connection.queue_next = nullptr;
    connection.queue_previous = last_;
    (last_ != nullptr ? last_->queue_next : first_) = &connection;
    last_ = &connection;
  }

  // nullptr if there is none.
  Connection* pop_front() {
    Connection* connection = first_;
    if (connection != nullptr) remove(*connection);
    return connection;
  }

  // `connection` must be in this list.
  void remove(Connection& connection) {
    Connection* next = connection.queue_next;
    Connection* previous = connection.queue_previous;
    (previous != nullptr ? previous->queue_next : first_) = next;
    (next != nullptr ? next->queue_previous : last_) = previous;
  }

 private:
  Connection* first_ = nullptr;
  Connection* last_ = nullptr;
};

}  // namespace vigil::http
