// What travels in Redis, and under which names. Pure functions; what comes from Redis may be
// anything, and is refused where it is not what is written here.
//
// A record, as it is in a stream: "w1", flags (1: binary, 2: not to be compressed, 4: not in the
// history, 8: it was told with a provisional id on the server of its origin), process and number of
// its origin and, with the flag 8, that id, 8 bytes each, the lowest first, and the payload. A
// message, as it is sent through a channel: the id in decimal, a line feed, and the record.
//
// For each topic there are a stream, a hash with what is known of it, and a channel, which all
// begin with PREFIX{TOPIC}: what is in braces decides which node of a cluster has them. In the
// topic, braces and % are %XX.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "src/pubsub/publication.h"

namespace mws {

constexpr size_t kMaxRedisPayload = 256 << 20;  // bytes; what is larger is nobody's record
constexpr uint64_t kMaxId = (uint64_t(1) << 53) - 1;

std::string encode_redis_record(const Publication& publication);
// A view of the record, without topic and id. Its provisional id means something on the server of
// its origin only.
std::optional<Publication> decode_redis_record(std::string_view record);
// Without topic.
std::optional<Publication> decode_redis_message(std::string_view message);

struct RedisNames {
  std::string prefix;
  uint32_t database = 0;  // channels are the same in all: so this stands in their names

  std::string stream(std::string_view topic) const;
  std::string facts(std::string_view topic) const;
  std::string channel(std::string_view topic) const;
  // The topic of a channel that one of this prefix and database can be.
  std::optional<std::string> topic_of(std::string_view channel) const;
};

}  // namespace mws
