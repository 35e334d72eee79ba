// Waits for what another thread or process is about to do and does not tell.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace vigil::test {

// Until `condition` holds, or 10 s have passed; its last value.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace vigil::test
