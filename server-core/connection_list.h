// ConnectionList: connections in a row.
#pragma once

#include "server-core/connection.h"
#include "server-core/intrusive_list.h"

namespace vigil::http {

// A connection is in one list at a time: it waits for its poller's leader, or for the end of the
// batch.
using ConnectionList =
    IntrusiveList<Connection, &Connection::queue_next, &Connection::queue_previous>;

}  // namespace vigil::http
