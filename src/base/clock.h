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

// Up to some milliseconds behind the other, for a small part of the cost.
inline uint64_t coarse_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return uint64_t(now.tv_sec) * 1000 + uint64_t(now.tv_nsec) / 1'000'000;
}

// For telling at next to no cost that hardly any time has gone by since an earlier reading: false
// where that is not so, or not known.
class ShortTime {
 public:
  void begin() { began_ = ticks(); }
  bool is_short() const { return ticks() - began_ < kTicks; }

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kTicks = 1 << 24;  // 3 to 17 ms: the counter has 1 to 5 GHz
  static uint64_t ticks() { return __builtin_ia32_rdtsc(); }
#else
  static constexpr uint64_t kTicks = 0;
  static uint64_t ticks() { return 0; }
#endif
  uint64_t began_ = 0;
};

// Of the calendar: microseconds since 1970. It may be set back.
inline uint64_t now_us() {
  using namespace std::chrono;
  return uint64_t(duration_cast<microseconds>(system_clock::now().time_since_epoch()).count());
}

}  // namespace mws
