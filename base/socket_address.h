// Socket addresses as text.
#pragma once

#include <sys/socket.h>

#include <string>

namespace vigil {

// "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock" ("unix:" for a socket without a name); empty for
// another family. Pure.
std::string socket_address_text(const sockaddr_storage& address);

// The peer of a connected socket of this process; empty if it is none. Thread-safe. Cost: one
// system call.
std::string socket_peer_text(int descriptor);

// Whether `address` is a numeric address of this machine's loopback: 127.0.0.0/8, ::1, and the former
// as a mapped one (::ffff:127.0.0.1). Pure.
bool is_loopback(const std::string& address);

}  // namespace vigil
