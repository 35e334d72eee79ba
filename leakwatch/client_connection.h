// Whether the client that a task works for still has its connection open, as the kernel knows it.
#pragma once

#include <string_view>

namespace vigil::leakwatch {

// Of a connected socket of this process: the client has closed it, or reset it. false for what is
// no TCP socket. Thread-safe. Cost: one system call.
bool client_is_gone(int descriptor);

// The same for a connection whose socket is not known, only its two ends: "127.0.0.1:8080", as
// format_host_port() has them. The kernel is asked for this one connection, by netlink
// (sock_diag(7)). false too if it cannot say: one of the ends is no address, or netlink is closed to
// this process, as in some sandboxes. Thread-safe. Cost: four system calls, some 10 us, however many
// connections there are.
bool client_is_gone(std::string_view local, std::string_view peer);

}  // namespace vigil::leakwatch
