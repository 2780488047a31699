// The one clock of the engine: monotonic, in milliseconds since an arbitrary start. Any thread.
#pragma once
#include <chrono>
#include <cstdint>

namespace mws {

inline uint64_t monotonic_ms() {
  using namespace std::chrono;
  return uint64_t(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

}  // namespace mws
