// What is published: one message for everybody who has subscribed to its topic.
#pragma once
#include <cstdint>
#include <string_view>

#include "src/base/bytes.h"
#include "src/protocol/frame.h"
#include "src/protocol/utf8.h"

namespace mws {

// Topics are UTF-8 of 1 to 255 bytes; any characters, as they stand: "a" and "A" are two.
inline constexpr size_t kMaxTopic = 255;  // bytes
inline bool is_topic(std::string_view name) {
  return !name.empty() && name.size() <= kMaxTopic && is_utf8(bytes_of(name));
}

// Tells a publication from all others, whatever its id: the process that made it, by a random
// number, and how many it had made.
struct PublicationOrigin {
  uint64_t process = 0, number = 0;
};

// A view: topic and payload are somebody else's memory.
struct Publication {
  std::string_view topic;
  Opcode type = Opcode::text;  // or binary; a text is UTF-8
  bool may_compress = true;
  bool kept = true;  // in the history
  Bytes payload;
  PublicationOrigin origin;
  // Given to it when it is published. Ids of a topic grow: an id is the time in microseconds since
  // 1970, or more where that is needed to grow. They fit into 53 bits.
  uint64_t id = 0;
  // Where the bus to other servers could not be reached, it was given an id for this server, and
  // gets its final one later. With that it is told once more, and this tells that it is the same.
  uint64_t provisional_id = 0;  // 0: it has none; else the same as id until the final one is known
  bool is_provisional() const { return provisional_id && provisional_id == id; }
};

// How much of a topic is kept for those who come later or come back: what exceeds one of these is
// dropped, the oldest first.
struct HistoryLimits {
  uint32_t count = 100;
  uint64_t bytes = 1 << 20;
  uint64_t age_us = 0;  // 0: no limit
};

}  // namespace mws
