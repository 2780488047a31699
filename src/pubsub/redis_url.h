// Where a Redis is, and what to tell it first, out of what stands in a configuration:
//
//   redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=PREFIX]
//   redis+unix:[//[[USER]:PASSWORD@]]/PATH[?db=DATABASE][&prefix=PREFIX]
//
// User, password, path and prefix may contain any character as %XX. What is said of a wrong one
// never repeats a part of it, for that could be the password.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/result.h"

namespace mws {

struct RedisAddress {
  std::string host;  // a name or an address; or empty, where it is
  std::string path;  // a socket in the file system
  uint16_t port = 6379;
  uint32_t database = 0;
  std::string user, password;  // without a password nothing is said of either
  std::string prefix = "websocket:";

  // For the log: host and port, or the path.
  std::string name() const;
};

// What a bus through it needs to know.
struct RedisSettings {
  RedisAddress address;
  // What each child keeps for a Redis that is away.
  size_t outbox_count = 10'000;  // publications
  size_t outbox_bytes = 16 << 20;
};

// Whether the text is meant to be one.
bool is_redis_url(std::string_view text);
Result<RedisAddress> parse_redis_url(std::string_view text);

}  // namespace mws
