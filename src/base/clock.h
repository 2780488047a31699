// The clocks, those of the engine in milliseconds since an arbitrary start. Any thread.
#pragma once
#include <time.h>

#include <chrono>
#include <cstdint>

namespace mws {

inline uint64_t monotonic_ms() {
  using namespace std::chrono;
  return uint64_t(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

inline uint64_t monotonic_ns() {
  using namespace std::chrono;
  return uint64_t(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

// To within some milliseconds, for a small part of the cost; not to be compared with the other.
inline uint64_t coarse_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return uint64_t(now.tv_sec) * 1000 + uint64_t(now.tv_nsec) / 1'000'000;
}

// Of the calendar: microseconds since 1970. It may be set back.
inline uint64_t now_us() {
  using namespace std::chrono;
  return uint64_t(duration_cast<microseconds>(system_clock::now().time_since_epoch()).count());
}

}  // namespace mws
