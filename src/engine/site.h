// What the connections of a location have in common.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/base/counters.h"

namespace mws {

class Connection;

// Times are in milliseconds; 0: none.
struct ConnectionLimits {
  uint64_t ping_ms = 0;          // a client that is silent for so long is pinged
  uint64_t pong_timeout_ms = 0;  // and ended if it is for so long after that
  uint64_t idle_ms = 0;          // without a message in either direction
  uint64_t lifetime_ms = 0;
  unsigned lifetime_jitter = 10;     // percent by which it may be shorter
  uint64_t close_timeout_ms = 5000;  // for the client's close frame

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

// What the owner of a site keeps with a connection.
class Record {
 public:
  virtual ~Record() = default;
};

// Lives until the end of the process.
class Site {
 public:
  Site(unsigned its_number, const ConnectionLimits& its_limits)
      : number(its_number), limits(its_limits) {}
  virtual ~Site() = default;
  // For who has no other: no times, the limits above, number 0.
  static const Site& unlimited();

  // On the connection's loop, before on_open and after on_close.
  virtual void connection_opened(const Connection&) const noexcept {}
  virtual void connection_ended(const Connection&, uint16_t /*code*/, std::string_view /*reason*/,
                                bool /*clean*/) const noexcept {}
  // A message's callback has run elsewhere than on a loop. Any thread.
  virtual void message_took(uint64_t /*ns*/) const noexcept {}
  // A limit ends the connection, has paused it for what it sends, or drops what is sent to it; on
  // its loop.
  virtual void limit_reached(const Connection&, Cause) const noexcept {}

  const unsigned number;  // of the location, among those that have counters
  const ConnectionLimits limits;
};

}  // namespace mws
