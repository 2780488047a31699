// What the sources of SharedTopics share, and nobody else needs: the memory as it is laid out.
#pragma once
#include <pthread.h>

#include "src/engine/shared_lock.h"
#include "src/pubsub/shared_topics.h"

namespace mws {

// A word that is there as it was before or after, whenever its writer dies; and the writer's stores
// stay in their order.
template <class T>
struct Word {
  operator T() const { return value.load(std::memory_order_acquire); }
  T operator=(T to) {
    value.store(to, std::memory_order_release);
    return to;
  }
  T operator=(const Word& other) { return *this = T(other); }
  std::atomic<T> value;
};

// Indexes of topics and blocks count from 1; 0 is none.
struct SharedTopics::Header {
  Sizes sizes;
  size_t seats_at, buckets_at, topics_at, topic_bytes, blocks_at, ring_at;  // from the start
  uint32_t buckets, blocks;
  uint64_t seed;
  pthread_mutex_t lock;
  // From here on under lock, but for reading head and last_id.
  std::atomic<uint64_t> head;       // where the next record goes; it and tail never wrap
  Word<uint64_t> tail;              // the oldest record
  uint64_t head_count, tail_count;  // records that were before
  Word<uint64_t> last_id;
  uint32_t topics_used, topic_hand;  // those above were never in use
  uint32_t blocks_used, free_blocks, room_hand;
  Word<uint32_t> first_free;
  Word<uint32_t> seats_used;
};

struct alignas(64) SharedTopics::Seat {
  std::atomic<pid_t> process;  // 0: free
  std::atomic<uint32_t> awake;
  std::atomic<uint64_t> subscribers;  // of all topics
};

struct SharedTopics::Topic {
  Word<uint32_t> in_use;  // the last thing to be set, and the first to be taken back
  uint32_t next;          // in its bucket
  uint32_t count;         // what is kept
  uint64_t bytes;
  Word<uint32_t> oldest, newest;
  Word<uint64_t> last_id;
  Word<uint64_t> lost_id;  // of what was published up to this, something may not be kept
  uint8_t name_size;
  char name[kMaxTopic];
  uint32_t subscribers[1];  // of each seat

  std::string_view name_view() const { return {name, name_size}; }
};

// A piece of an entry of a history.
struct SharedTopics::Block {
  static constexpr size_t kBytes = 248;
  alignas(8) Word<uint32_t> next;
  alignas(8) uint8_t bytes[kBytes];
};

// How the first block of an entry begins.
struct Kept {
  uint64_t id, process, number;
  Word<uint32_t> next_entry;
  uint32_t payload_size;
  uint8_t type, may_compress;
};

class SharedTopics::Lock : private SharedLock {
 public:
  explicit Lock(SharedTopics& topics)
      : SharedLock(topics.header_.lock, [&topics] { topics.repair(); }) {}
};

inline size_t aligned(size_t size, size_t to) { return (size + to - 1) / to * to; }

}  // namespace mws
