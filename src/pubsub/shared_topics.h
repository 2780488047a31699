// The topics of a server in memory that all of its children share: a ring through which
// publications go from child to child, the history of each topic, and how many subscribers each
// child has.
//
// The memory is made before the children are, and outlives each of them. A lock guards it that
// survives the death of who holds it: whatever a child was about to do when it was killed, the next
// to take the lock finds the ring and the histories as they were before or after. Who writes never
// waits for readers: a reader that has fallen behind by more than the ring holds misses the rest,
// is told so, and has the histories.
//
// Any thread, if not said otherwise. Nothing here blocks, but for the lock, which is held while
// bytes are copied.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/pubsub/publication.h"

namespace mws {

// What was published to a topic since some id, oldest first.
struct Fetched {
  struct Entry {
    uint64_t id;
    PublicationOrigin origin;
    Opcode type;
    bool may_compress;
    std::vector<uint8_t> payload;
    uint64_t provisional_id = 0;  // see Publication
  };
  std::vector<Entry> entries;
  bool gap = false;   // something that was published in between is not kept any more
  bool more = false;  // there is more behind it
  // Whatever is published from now on has a higher id; and a higher provisional one, if any.
  uint64_t last_id = 0, last_provisional_id = 0;
};

struct FetchQuery {
  std::string_view topic;
  // What is wanted: all after this id; or, with 0, the last `last` that there are.
  uint64_t since = 0;
  uint32_t last = 0;
  size_t max_bytes = SIZE_MAX;  // of payloads; more than one entry is only given within it
  // What has come with provisional ids up to this is known.
  uint64_t provisional_since = 0;
};

template <class T>
struct Word;

class SharedTopics {
 public:
  static constexpr uint32_t kMaxSeats = 1024;
  struct Sizes {
    size_t ring_bytes = 16 << 20;
    size_t history_bytes = 32 << 20;
    uint32_t topics = 16384;
    uint32_t seats = 64;  // children; kMaxSeats at most
  };
  // What the memory needs: zeroes, writable, shared, aligned as pages are.
  static size_t bytes_for(const Sizes& sizes);
  // Lays out memory that is new. Before the children are made.
  static void lay_out(void* memory, const Sizes& sizes);
  // Uses memory that was laid out by this version of the module. Of the descriptors, eventfds that
  // all children share, seat i has the one with the number i modulo their count.
  SharedTopics(void* memory, std::span<const int> descriptors, const HistoryLimits& history = {},
               uint64_t max_subscribers = UINT64_MAX);
  SharedTopics(const SharedTopics&) = delete;
  SharedTopics& operator=(const SharedTopics&) = delete;

  // Takes a seat for this process; false if there is none. Until then, and without one, it can only
  // publish and fetch.
  bool enter();
  // Gives up the seat of a process that has ended or is about to. Takes no lock.
  void leave(pid_t process);

  size_t max_payload() const { return ring_bytes() / 4; }
  const HistoryLimits& history() const { return history_; }

  struct Published {
    uint64_t id;
    uint64_t subscribers;  // that there were
  };
  // Gives the publication an id of at least `lowest_id`, and wakes the children that have
  // subscribers. The payload is of max_payload() at most.
  Published publish(const Publication& publication, uint64_t lowest_id = 0) {
    return publish(publication, lowest_id, true);
  }
  // The same, but that it is the topic's next id from there on, whatever time it is.
  Published publish_from(const Publication& publication, uint64_t lowest_id) {
    return publish(publication, lowest_id, false);
  }

  // One subscriber more, or less, of this process. False if there is no room for another topic, or
  // subscriber.
  bool subscribe(std::string_view topic);
  void unsubscribe(std::string_view topic);

  Fetched fetch(const FetchQuery& query);
  struct State {
    uint64_t subscribers = 0, kept = 0;
    uint64_t last_id = 0;  // 0: none is known
  };
  State state(std::string_view topic);
  void clear_history(std::string_view topic);

  // Reads on through the ring, for one thread of the process, which has a seat.
  class Reader {
   public:
    // From what is published next on.
    explicit Reader(SharedTopics& topics);
    // Calls each(const Publication&) for some of what there is; the views live until it returns.
    // Before that, missed(count) if so many publications were overwritten. False if there was
    // nothing.
    template <class Missed, class Each>
    bool read(Missed missed, Each each) {
      uint64_t overwritten;
      if (!take(overwritten)) return false;
      if (overwritten) missed(overwritten);
      for (Bytes rest = taken(); !rest.empty();) each(next(rest));
      return true;
    }
    // Nothing is left to read: the descriptor of the seat becomes readable with the next
    // publication. False if there is something by now.
    bool sleep();
    int descriptor() const;

   private:
    bool take(uint64_t& missed);
    Bytes taken() const { return {buffer_.data(), size_}; }
    static Publication next(Bytes& rest);
    SharedTopics& topics_;
    uint64_t position_, count_;
    std::vector<uint8_t> buffer_;
    size_t size_ = 0;
  };

 private:
  struct Header;
  struct Seat;
  struct Topic;
  struct Block;
  struct Record;
  class Lock;

  Published publish(const Publication& publication, uint64_t lowest_id, bool by_time);
  uint64_t next_id(const Topic* topic, uint64_t lowest_id, bool by_time);
  static void wake(int descriptor);
  size_t ring_bytes() const;
  void copy_into_ring(uint64_t at, Bytes bytes);
  void copy_from_ring(uint64_t at, MutableBytes bytes) const;
  void append(const Publication& publication);
  Seat* seats() const;
  Word<uint32_t>& bucket_of(std::string_view topic) const;
  Topic& topic_at(uint32_t index) const;
  Topic* find(std::string_view name) const;
  Topic* find_or_make(std::string_view name);
  uint32_t free_topic();
  uint64_t subscribers_of(const Topic& topic) const;
  Block& block_at(uint32_t index) const;
  void keep(Topic& topic, const Publication& publication);
  bool make_room(Topic& topic, uint32_t blocks);
  void drop_oldest(Topic& topic);
  void drop_old(Topic& topic);
  void free_chain(uint32_t first);
  Fetched::Entry read_entry(uint32_t first) const;
  void repair();

  uint8_t* const memory_;
  Header& header_;
  const std::vector<int> descriptors_;
  const HistoryLimits history_;
  const uint64_t max_subscribers_;  // of all children and topics
  std::atomic<uint32_t> seat_;
};

}  // namespace mws
