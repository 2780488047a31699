// What the connections of a location have in common.
#pragma once
#include <cstdint>

#include "src/base/counters.h"

namespace mws {

class Connection;

// Times are in milliseconds; 0: none.
struct ConnectionLimits {
  uint64_t ping_ms = 0;          // a client that is silent for so long is pinged
  uint64_t pong_timeout_ms = 0;  // and ended if it is for so long after that
  uint64_t idle_ms = 0;          // without a message in either direction
  uint64_t lifetime_ms = 0;
  unsigned lifetime_jitter = 10;  // percent by which it may be shorter
  uint64_t close_timeout_ms = 10'000;

  // Per second, and how much may come at once. 0: no limit.
  struct Rate {
    uint32_t per_s = 0, burst = 0;
    bool operator==(const Rate&) const = default;
  };
  Rate messages, bytes, control_frames{1000, 10'000};
  bool rate_closes = false;  // else reading pauses

  enum class Slow : uint8_t { pause, close, drop };
  size_t high_water = 1 << 20;  // bytes that may wait for a client
  Slow slow = Slow::pause;      // what happens to one for whom more waits

  bool operator==(const ConnectionLimits&) const = default;
};

// Lives until the end of the process. Any thread.
class Site {
 public:
  Site(unsigned its_number, const ConnectionLimits& its_limits)
      : number(its_number), limits(its_limits) {}
  virtual ~Site() = default;
  // The connection is gone, after on_close; on its loop's thread.
  virtual void connection_ended(const Connection&) const noexcept {}

  const unsigned number;  // of the location, among those that have counters
  const ConnectionLimits limits;
};

}  // namespace mws
