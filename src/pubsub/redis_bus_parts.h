// What the sources of RedisBus share, and nobody else needs.
#pragma once
#ifdef WEBSOCKET_HIREDIS
#include <hiredis/hiredis.h>

#include "src/base/clock.h"
#include "src/pubsub/redis_bus.h"

namespace mws {

struct RedisBus::Item {
  Item(const Publication& of, Received to)
      : topic(of.topic),
        payload(text_of(of.payload)),
        type(of.type),
        may_compress(of.may_compress),
        kept(of.kept),
        received(std::move(to)) {}

  const std::string topic, payload;
  const Opcode type;
  const bool may_compress, kept;
  Received received;  // empty once it was called
  PublicationOrigin origin;
  uint64_t seen_id = 0;          // Redis has sent it
  uint64_t provisional_id = 0;   // it was delivered here
  bool follows_refused = false;  // it was sent right behind one to this topic that was refused

  size_t bytes() const { return sizeof(Item) + topic.size() + payload.size(); }
  Publication publication() const {
    return {.topic = topic,
            .type = type,
            .may_compress = may_compress,
            .kept = kept,
            .payload = bytes_of(payload),
            .origin = origin,
            .provisional_id = provisional_id};
  }
};

// Who asks the same shares the answer.
struct RedisBus::Fetch {
  explicit Fetch(const FetchQuery& of) : topic(of.topic), query(of) { query.topic = topic; }
  Fetch(const Fetch&) = delete;

  const std::string topic;
  FetchQuery query;
  std::vector<std::function<void(Fetched)>> answers;
  std::function<void(const SharedTopics::State&)> state;  // then only that is wanted
  bool gap = false;                                       // in what was read already

  bool is_like(const Fetch& other) const {
    return !state && !other.state && query.since == other.query.since &&
           query.last == other.query.last && query.max_bytes == other.query.max_bytes &&
           query.provisional_since == other.query.provisional_since;
  }
};

inline constexpr uint64_t kKeepFacts_s = 7 * 24 * 3600;  // of topics that nobody uses any more
inline constexpr uint64_t kKeepAsked_s = 600;            // of topics that nothing was published to

inline std::string_view text_of(const redisReply& reply) {
  return reply.str ? std::string_view(reply.str, reply.len) : std::string_view();
}

}  // namespace mws
#endif
