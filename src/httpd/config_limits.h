// Directives that limit a connection once it is open.
#pragma once
#include <cstdint>
#include <optional>

#include "src/engine/site.h"
#include "src/httpd/module.h"

namespace mws {

// What a section sets of them, or what holds for a request.
struct LimitsConfig {
  struct Ping {
    uint64_t interval_ms = 30'000, timeout_ms = 30'000;
  };
  struct Lifetime {
    uint64_t most_ms = 0;
    unsigned jitter = 10;  // percent
  };
  struct Rates {
    std::optional<ConnectionLimits::Rate> messages, bytes, control_frames;
    std::optional<bool> closes;
  };
  std::optional<Ping> ping;                    // WebSocketPing
  std::optional<uint64_t> idle_ms;             // WebSocketIdleTimeout
  std::optional<uint64_t> close_ms;            // WebSocketCloseTimeout
  std::optional<Lifetime> lifetime;            // WebSocketMaxLifetime
  Rates rates;                                 // WebSocketRateLimit
  std::optional<uint64_t> send_buffer;         // WebSocketSendBuffer, bytes
  std::optional<ConnectionLimits::Slow> slow;  // WebSocketSlowClient
  std::optional<uint32_t> max_fragments;       // WebSocketMaxFragments

  ConnectionLimits limits() const;  // defaults stand for what is not set
};

LimitsConfig merge_limits(const LimitsConfig& base, const LimitsConfig& add);

const char* set_ping(cmd_parms* cmd, void* config, const char* interval, const char* timeout);
const char* set_idle_timeout(cmd_parms* cmd, void* config, const char* time);
const char* set_close_timeout(cmd_parms* cmd, void* config, const char* time);
const char* set_max_lifetime(cmd_parms* cmd, void* config, const char* time, const char* jitter);
const char* set_rate_limit(cmd_parms* cmd, void* config, int argc, char* const argv[]);
const char* set_send_buffer(cmd_parms* cmd, void* config, const char* bytes);
const char* set_slow_client(cmd_parms* cmd, void* config, const char* what);
const char* set_max_fragments(cmd_parms* cmd, void* config, const char* number);
const char* set_max_buffered(cmd_parms* cmd, void* config, const char* bytes);

}  // namespace mws
