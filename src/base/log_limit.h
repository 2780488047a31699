// Keeps what may come as often as clients or handlers like from filling the log. Any thread.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>

#include "src/base/clock.h"

namespace mws {

class LogLimit {
 public:
  explicit LogLimit(unsigned lines = 1, uint64_t per_ms = 10'000)
      : lines_(lines), per_ms_(per_ms) {}

  // Whether the next line may be written. left_out: what to write behind it of those that were not,
  // " (12 lines were left out before)", or nothing.
  bool allows(std::string& left_out) {
    std::lock_guard hold(lock_);
    uint64_t now_ms = monotonic_ms();
    if (now_ms - begin_ms_ >= per_ms_) {
      begin_ms_ = now_ms;
      written_ = 0;
    }
    if (written_ == lines_) {
      left_out_++;
      return false;
    }
    written_++;
    if (left_out_) left_out = " (" + std::to_string(left_out_) + " lines were left out before)";
    left_out_ = 0;
    return true;
  }

 private:
  const unsigned lines_;
  const uint64_t per_ms_;
  std::mutex lock_;
  uint64_t begin_ms_ = 0;
  unsigned written_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace mws
