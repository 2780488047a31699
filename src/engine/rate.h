// A token bucket: so much a second, and so much at once.
#pragma once
#include <algorithm>
#include <cstdint>

namespace mws {

template <class Number>
class BasicRate {
 public:
  // Takes an amount, whether or not as much is there. Times are in milliseconds since the same
  // moment, and may begin again at 2^32. False if more was taken than there is.
  bool take(Number amount, Number per_s, Number burst, uint32_t now_ms) {
    Number back = Number(uint32_t(now_ms - at_ms_)) * per_s / 1000;
    taken_ = std::max(Number(0), taken_ - back) + amount;
    at_ms_ = now_ms;
    return taken_ <= burst;
  }
  // After that: until no more is taken than there is.
  uint64_t wait_ms(Number per_s, Number burst, uint32_t now_ms) const {
    Number over = taken_ - Number(uint32_t(now_ms - at_ms_)) * per_s / 1000 - burst;
    return over <= 0 ? 0 : uint64_t(over * 1000 / per_s) + 1;
  }

 private:
  Number taken_ = 0;
  uint32_t at_ms_ = 0;
};

using Rate = BasicRate<double>;
using SmallRate = BasicRate<float>;  // of amounts far below 2^24

}  // namespace mws
