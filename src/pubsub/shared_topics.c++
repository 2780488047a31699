#include "src/pubsub/shared_topics.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

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

namespace {

struct Kept {  // how the first block of an entry begins
  uint64_t id, process, number;
  Word<uint32_t> next_entry;
  uint32_t payload_size;
  uint8_t type, may_compress;
};

struct RingRecord {
  uint32_t size, payload_size;
  uint64_t id, process, number;
  uint8_t type, may_compress, topic_size;
};

constexpr size_t kLongestRead = 256 * 1024;  // bytes

size_t aligned(size_t size, size_t to) { return (size + to - 1) / to * to; }

uint64_t now_us() {
  using namespace std::chrono;
  return uint64_t(duration_cast<microseconds>(system_clock::now().time_since_epoch()).count());
}

}  // namespace

// --- Where everything is ---

namespace {

struct Places {
  size_t seats, buckets, topics, topic_bytes, blocks, ring, all;
  uint32_t bucket_count, block_count;
};

}  // namespace

static Places places_of(const SharedTopics::Sizes& sizes, size_t header, size_t seat, size_t topic,
                        size_t block) {
  Places at;
  at.seats = aligned(header, 64);
  at.buckets = at.seats + seat * sizes.seats;
  at.bucket_count = std::bit_ceil(sizes.topics);
  at.topics = aligned(at.buckets + sizeof(uint32_t) * at.bucket_count, 64);
  at.topic_bytes = aligned(topic + sizeof(uint32_t) * sizes.seats, 64);
  at.blocks = at.topics + at.topic_bytes * sizes.topics;
  at.block_count = uint32_t(std::min<size_t>(sizes.history_bytes / block, UINT32_MAX - 1));
  at.ring = aligned(at.blocks + block * at.block_count, 4096);
  at.all = at.ring + sizes.ring_bytes;
  return at;
}

size_t SharedTopics::bytes_for(const Sizes& sizes) {
  return places_of(sizes, sizeof(Header), sizeof(Seat), sizeof(Topic), sizeof(Block)).all;
}

void SharedTopics::lay_out(void* memory, const Sizes& sizes) {
  auto& header = *static_cast<Header*>(memory);
  Places at = places_of(sizes, sizeof(Header), sizeof(Seat), sizeof(Topic), sizeof(Block));
  header.sizes = sizes;
  header.seats_at = at.seats;
  header.buckets_at = at.buckets;
  header.topics_at = at.topics;
  header.topic_bytes = at.topic_bytes;
  header.blocks_at = at.blocks;
  header.ring_at = at.ring;
  header.buckets = at.bucket_count;
  header.blocks = at.block_count;
  header.last_id = now_us();  // what there was before, nobody knows
  header.seed = (uint64_t(std::random_device()()) << 32) ^ std::random_device()();
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&header.lock, &kind);
  pthread_mutexattr_destroy(&kind);
}

SharedTopics::SharedTopics(void* memory, std::span<const int> descriptors,
                           const HistoryLimits& history, uint64_t max_subscribers)
    : memory_(static_cast<uint8_t*>(memory)),
      header_(*static_cast<Header*>(memory)),
      descriptors_(descriptors.begin(), descriptors.end()),
      history_(history),
      max_subscribers_(max_subscribers),
      seat_(UINT32_MAX) {}

class SharedTopics::Lock {
 public:
  explicit Lock(SharedTopics& topics) : lock_(topics.header_.lock) {
    if (pthread_mutex_lock(&lock_) != EOWNERDEAD) return;
    topics.repair();
    pthread_mutex_consistent(&lock_);
  }
  ~Lock() { pthread_mutex_unlock(&lock_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  pthread_mutex_t& lock_;
};

size_t SharedTopics::ring_bytes() const { return header_.sizes.ring_bytes; }

SharedTopics::Topic& SharedTopics::topic_at(uint32_t index) const {
  return *reinterpret_cast<Topic*>(memory_ + header_.topics_at + header_.topic_bytes * (index - 1));
}

SharedTopics::Block& SharedTopics::block_at(uint32_t index) const {
  return *reinterpret_cast<Block*>(memory_ + header_.blocks_at + sizeof(Block) * (index - 1));
}

SharedTopics::Seat* SharedTopics::seats() const {
  return reinterpret_cast<Seat*>(memory_ + header_.seats_at);
}

Word<uint32_t>& SharedTopics::bucket_of(std::string_view name) const {
  uint64_t hash = header_.seed ^ 0xcbf29ce484222325u;  // FNV-1a
  for (char each : name) hash = (hash ^ uint8_t(each)) * 0x100000001b3u;
  auto* buckets = reinterpret_cast<Word<uint32_t>*>(memory_ + header_.buckets_at);
  return buckets[(hash ^ hash >> 29) & (header_.buckets - 1)];
}

// --- Seats ---

bool SharedTopics::enter() {
  for (uint32_t i = 0; i < header_.sizes.seats; i++) {
    pid_t before = seats()[i].process;
    if (before && !(kill(before, 0) && errno == ESRCH)) continue;
    if (!seats()[i].process.compare_exchange_strong(before, getpid())) continue;
    Lock hold(*this);
    header_.seats_used = std::max<uint32_t>(header_.seats_used, i + 1);
    for (uint32_t t = 1; t <= header_.topics_used; t++) topic_at(t).subscribers[i] = 0;
    seats()[i].awake = 1;
    seats()[i].subscribers = 0;
    seat_ = i;
    return true;
  }
  return false;
}

void SharedTopics::leave(pid_t process) {
  for (uint32_t i = 0; i < header_.sizes.seats; i++) {
    pid_t expected = process;
    if (seats()[i].process.compare_exchange_strong(expected, 0)) return;
  }
}

uint64_t SharedTopics::subscribers_of(const Topic& topic) const {
  uint64_t all = 0;
  for (uint32_t i = 0; i < header_.seats_used; i++)
    if (topic.subscribers[i] && seats()[i].process) all += topic.subscribers[i];
  return all;
}

// --- Topics by their names ---

SharedTopics::Topic* SharedTopics::find(std::string_view name) const {
  for (uint32_t index = bucket_of(name); index; index = topic_at(index).next)
    if (topic_at(index).name_view() == name) return &topic_at(index);
  return nullptr;
}

// nullptr where there is no room: each topic that there is has subscribers.
SharedTopics::Topic* SharedTopics::find_or_make(std::string_view name) {
  if (Topic* known = find(name)) return known;
  uint32_t index = free_topic();
  if (!index) return nullptr;
  Topic& topic = topic_at(index);
  topic.name_size = uint8_t(name.copy(topic.name, kMaxTopic));
  topic.count = 0;
  topic.bytes = 0;
  topic.oldest = 0;
  topic.newest = 0;
  topic.last_id = 0;
  topic.lost_id = header_.last_id;  // what there was before, nobody knows any more
  memset(topic.subscribers, 0, sizeof(uint32_t) * header_.sizes.seats);
  auto& bucket = bucket_of(name);
  topic.next = bucket;
  topic.in_use = 1;
  bucket = index;
  return &topic;
}

// One that was never in use, or that is given up: of some that have no subscribers, the one that
// was published to last the longest ago.
uint32_t SharedTopics::free_topic() {
  if (header_.topics_used < header_.sizes.topics) return ++header_.topics_used;
  constexpr uint32_t kLooked = 64;
  uint32_t chosen = 0;
  for (uint32_t looked = 0; looked < header_.sizes.topics && (looked < kLooked || !chosen);
       looked++) {
    uint32_t index = header_.topic_hand = header_.topic_hand % header_.sizes.topics + 1;
    Topic& topic = topic_at(index);
    if (!topic.in_use) {
      chosen = index;
      break;
    }
    if (subscribers_of(topic)) continue;
    if (!chosen || topic.last_id < topic_at(chosen).last_id) chosen = index;
  }
  if (!chosen || !topic_at(chosen).in_use) return chosen;
  Topic& given_up = topic_at(chosen);
  while (given_up.oldest) drop_oldest(given_up);
  given_up.in_use = 0;
  auto& bucket = bucket_of(given_up.name_view());
  if (bucket == chosen) {
    bucket = given_up.next;
  } else {
    uint32_t before = bucket;
    while (topic_at(before).next != chosen) before = topic_at(before).next;
    topic_at(before).next = given_up.next;
  }
  return chosen;
}

bool SharedTopics::subscribe(std::string_view name) {
  uint32_t seat = seat_;
  if (seat == UINT32_MAX) return false;
  Lock hold(*this);
  uint64_t all = 0;
  for (uint32_t i = 0; i < header_.seats_used; i++)
    if (seats()[i].process) all += seats()[i].subscribers;
  if (all >= max_subscribers_) return false;
  Topic* topic = find_or_make(name);
  if (!topic) return false;
  topic->subscribers[seat]++;
  seats()[seat].subscribers++;
  return true;
}

void SharedTopics::unsubscribe(std::string_view name) {
  uint32_t seat = seat_;
  Lock hold(*this);
  Topic* topic = find(name);
  if (!topic || seat == UINT32_MAX || !topic->subscribers[seat]) return;
  topic->subscribers[seat]--;
  seats()[seat].subscribers--;
}

SharedTopics::State SharedTopics::state(std::string_view name) {
  Lock hold(*this);
  Topic* topic = find(name);
  if (!topic) return {};
  drop_old(*topic);
  return {subscribers_of(*topic), topic->count, topic->last_id};
}

// --- Publishing ---

uint64_t SharedTopics::next_id(const Topic* topic, uint64_t lowest_id, bool by_time) {
  if (!by_time) return std::max(topic ? topic->last_id + 1 : 1, lowest_id);
  header_.last_id = std::max({header_.last_id + 1, now_us(), lowest_id});
  return header_.last_id;
}

SharedTopics::Published SharedTopics::publish(const Publication& publication, uint64_t lowest_id,
                                              bool by_time) {
  Published published{};
  uint64_t to_wake[kMaxSeats / 64] = {};
  uint32_t used;
  {
    Lock hold(*this);
    used = header_.seats_used;
    bool keeps = publication.kept && history_.count;
    Topic* topic = keeps ? find_or_make(publication.topic) : find(publication.topic);
    Publication numbered = publication;
    numbered.id = published.id = next_id(topic, lowest_id, by_time);
    if (!topic) return published;
    published.subscribers = subscribers_of(*topic);
    if (published.subscribers) append(numbered);
    if (publication.kept) keep(*topic, numbered);
    topic->last_id = numbered.id;
    for (uint32_t i = 0; i < used; i++)
      if (topic->subscribers[i]) to_wake[i / 64] |= uint64_t(1) << i % 64;
  }
  for (uint32_t word = 0; word * 64 < used; word++)
    for (uint64_t left = to_wake[word]; left; left &= left - 1) {
      uint32_t seat = word * 64 + uint32_t(std::countr_zero(left));
      if (!seats()[seat].process || seats()[seat].awake.exchange(1)) continue;
      uint64_t one = 1;
      [[maybe_unused]] ssize_t size =
          write(descriptors_[seat % descriptors_.size()], &one, sizeof one);
    }
  return published;
}

void SharedTopics::append(const Publication& publication) {
  RingRecord record{};
  record.size =
      uint32_t(aligned(sizeof record + publication.topic.size() + publication.payload.size(), 8));
  record.payload_size = uint32_t(publication.payload.size());
  record.id = publication.id;
  record.process = publication.origin.process;
  record.number = publication.origin.number;
  record.type = uint8_t(publication.type);
  record.may_compress = publication.may_compress;
  record.topic_size = uint8_t(publication.topic.size());
  uint64_t head = header_.head;
  while (head + record.size - header_.tail > ring_bytes()) {
    RingRecord oldest;
    copy_from_ring(header_.tail, {reinterpret_cast<uint8_t*>(&oldest), sizeof oldest});
    header_.tail_count++;
    header_.tail = header_.tail + oldest.size;
  }
  copy_into_ring(head, {reinterpret_cast<const uint8_t*>(&record), sizeof record});
  copy_into_ring(head + sizeof record, bytes_of(publication.topic));
  copy_into_ring(head + sizeof record + publication.topic.size(), publication.payload);
  header_.head_count++;
  header_.head = head + record.size;  // now it is there
}

void SharedTopics::copy_into_ring(uint64_t at, Bytes bytes) {
  uint8_t* ring = memory_ + header_.ring_at;
  size_t from = at % ring_bytes(), first = std::min(bytes.size(), ring_bytes() - from);
  if (first) memcpy(ring + from, bytes.data(), first);
  if (first < bytes.size()) memcpy(ring, bytes.data() + first, bytes.size() - first);
}

void SharedTopics::copy_from_ring(uint64_t at, MutableBytes bytes) const {
  const uint8_t* ring = memory_ + header_.ring_at;
  size_t from = at % ring_bytes(), first = std::min(bytes.size(), ring_bytes() - from);
  if (first) memcpy(bytes.data(), ring + from, first);
  if (first < bytes.size()) memcpy(bytes.data() + first, ring, bytes.size() - first);
}

// --- Reading ---

SharedTopics::Reader::Reader(SharedTopics& topics) : topics_(topics) {
  Lock hold(topics_);
  position_ = topics_.header_.head;
  count_ = topics_.header_.head_count;
}

bool SharedTopics::Reader::take(uint64_t& missed) {
  missed = 0;
  const Header& header = topics_.header_;
  Lock hold(topics_);
  if (position_ < header.tail) {
    missed = header.tail_count - count_;
    position_ = header.tail;
    count_ = header.tail_count;
  }
  uint64_t end = position_, head = header.head;
  while (end < head) {
    RingRecord record;
    topics_.copy_from_ring(end, {reinterpret_cast<uint8_t*>(&record), sizeof record});
    if (end > position_ && end + record.size - position_ > kLongestRead) break;
    end += record.size;
    count_++;
  }
  size_ = end - position_;
  if (buffer_.size() < size_) buffer_.resize(size_);
  topics_.copy_from_ring(position_, {buffer_.data(), size_});
  position_ = end;
  return size_ || missed;
}

Publication SharedTopics::Reader::next(Bytes& rest) {
  RingRecord record;
  memcpy(&record, rest.data(), sizeof record);
  Publication publication;
  publication.topic = text_of(rest.subspan(sizeof record, record.topic_size));
  publication.payload = rest.subspan(sizeof record + record.topic_size, record.payload_size);
  publication.type = Opcode(record.type);
  publication.may_compress = record.may_compress;
  publication.origin = {record.process, record.number};
  publication.id = record.id;
  rest = rest.subspan(record.size);
  return publication;
}

bool SharedTopics::Reader::sleep() {
  Seat& seat = topics_.seats()[topics_.seat_];
  seat.awake = 0;
  if (topics_.header_.head == position_) return true;
  seat.awake = 1;
  return false;
}

int SharedTopics::Reader::descriptor() const {
  return topics_.descriptors_[topics_.seat_ % topics_.descriptors_.size()];
}

// --- Histories ---

static uint32_t blocks_for(size_t payload, size_t block) {
  return uint32_t((sizeof(Kept) + payload + block - 1) / block);
}

// Whatever cannot be kept leaves a gap.
void SharedTopics::keep(Topic& topic, const Publication& publication) {
  drop_old(topic);
  size_t size = publication.payload.size();
  uint32_t needed = blocks_for(size, Block::kBytes);
  if (!history_.count || size > history_.bytes || !make_room(topic, needed)) {
    topic.lost_id = publication.id;
    return;
  }
  Kept kept{publication.id, publication.origin.process, publication.origin.number, {},
            uint32_t(size), uint8_t(publication.type),  publication.may_compress};
  Bytes head(reinterpret_cast<const uint8_t*>(&kept), sizeof kept), rest = publication.payload;
  uint32_t first = 0, last = 0;
  for (uint32_t i = 0; i < needed; i++) {
    uint32_t index = header_.first_free;
    if (index) header_.first_free = block_at(index).next;
    else index = ++header_.blocks_used;
    if (header_.free_blocks) header_.free_blocks--;
    Block& block = block_at(index);
    block.next = 0;
    size_t room = Block::kBytes;
    uint8_t* at = block.bytes;
    if (!first) {
      memcpy(at, head.data(), head.size());
      at += head.size();
      room -= head.size();
    }
    size_t part = std::min(room, rest.size());
    if (part) memcpy(at, rest.data(), part);
    rest = rest.subspan(part);
    if (last) block_at(last).next = index;
    last = index;
    if (!first) first = index;
  }
  if (topic.newest) reinterpret_cast<Kept*>(block_at(topic.newest).bytes)->next_entry = first;
  else topic.oldest = first;
  topic.newest = first;
  topic.count++;
  topic.bytes += size;
  while (topic.count > history_.count || topic.bytes > history_.bytes) drop_oldest(topic);
}

// Whether so many blocks are free, where need be at the cost of what is oldest here, or elsewhere.
bool SharedTopics::make_room(Topic& topic, uint32_t blocks) {
  if (blocks > header_.blocks) return false;
  auto is_room = [&] {
    return header_.blocks - header_.blocks_used + header_.free_blocks >= blocks;
  };
  while (!is_room() && topic.count > 1) drop_oldest(topic);
  for (uint32_t looked = 0; !is_room() && looked <= header_.topics_used;) {
    uint32_t index = header_.room_hand = header_.room_hand % header_.topics_used + 1;
    Topic& other = topic_at(index);
    if (!other.in_use || !other.oldest) {
      looked++;
      continue;
    }
    drop_oldest(other);
    looked = 0;
  }
  return is_room();
}

void SharedTopics::drop_oldest(Topic& topic) {
  uint32_t first = topic.oldest;
  const auto& kept = *reinterpret_cast<const Kept*>(block_at(first).bytes);
  topic.lost_id = std::max<uint64_t>(topic.lost_id, kept.id);
  uint32_t next = kept.next_entry;
  topic.oldest = next;
  if (!next) topic.newest = 0;
  topic.count--;
  topic.bytes -= kept.payload_size;
  free_chain(first);
}

void SharedTopics::drop_old(Topic& topic) {
  if (!history_.age_us) return;
  uint64_t now = now_us();
  while (topic.oldest &&
         reinterpret_cast<const Kept*>(block_at(topic.oldest).bytes)->id + history_.age_us < now)
    drop_oldest(topic);
}

void SharedTopics::free_chain(uint32_t first) {
  while (first) {
    Block& block = block_at(first);
    uint32_t next = block.next;
    block.next = header_.first_free;
    header_.first_free = first;
    header_.free_blocks++;
    first = next;
  }
}

Fetched::Entry SharedTopics::read_entry(uint32_t first) const {
  const auto& kept = *reinterpret_cast<const Kept*>(block_at(first).bytes);
  Fetched::Entry entry{
      kept.id, {kept.process, kept.number}, Opcode(kept.type), bool(kept.may_compress), {}};
  entry.payload.reserve(kept.payload_size);
  size_t skip = sizeof kept;
  for (uint32_t index = first; entry.payload.size() < kept.payload_size;
       index = block_at(index).next) {
    const uint8_t* at = block_at(index).bytes + skip;
    size_t part = std::min(Block::kBytes - skip, kept.payload_size - entry.payload.size());
    entry.payload.insert(entry.payload.end(), at, at + part);
    skip = 0;
  }
  return entry;
}

Fetched SharedTopics::fetch(const FetchQuery& query) {
  Fetched fetched;
  Lock hold(*this);
  fetched.last_id = header_.last_id;
  Topic* topic = find(query.topic);
  if (!topic) {
    fetched.gap = query.since && query.since < header_.last_id;
    return fetched;
  }
  drop_old(*topic);
  fetched.gap = query.since && query.since < topic->lost_id;
  uint32_t skip = query.since ? 0 : topic->count - std::min(topic->count, query.last);
  size_t bytes = 0;
  for (uint32_t index = topic->oldest; index;) {
    const auto& kept = *reinterpret_cast<const Kept*>(block_at(index).bytes);
    if (skip) {
      skip--;
    } else if (kept.id > query.since) {
      bytes += kept.payload_size;
      if (bytes > query.max_bytes && !fetched.entries.empty()) {
        fetched.more = true;
        break;
      }
      fetched.entries.push_back(read_entry(index));
    }
    index = kept.next_entry;
  }
  return fetched;
}

void SharedTopics::clear_history(std::string_view name) {
  Lock hold(*this);
  Topic* topic = find(name);
  while (topic && topic->oldest) drop_oldest(*topic);
}

// --- After a death ---

// Who died held the lock, and had begun to change something. Of the ring only whole records are
// ever to be seen. What else there is, is built anew from what always holds: which topics are in
// use, and the entries that hang together from each topic's oldest on.
void SharedTopics::repair() {
  auto* buckets = reinterpret_cast<Word<uint32_t>*>(memory_ + header_.buckets_at);
  for (uint32_t i = 0; i < header_.buckets; i++) buckets[i] = 0;
  header_.blocks_used = std::min(header_.blocks_used, header_.blocks);
  std::vector<bool> reached(header_.blocks_used + 1);
  auto reach = [&](uint32_t first) {  // the blocks of one entry
    auto size = reinterpret_cast<const Kept*>(block_at(first).bytes)->payload_size;
    uint32_t left = blocks_for(size, Block::kBytes);
    for (uint32_t index = first; index && left; index = block_at(index).next, left--)
      reached[index] = true;
  };
  for (uint32_t t = 1; t <= header_.topics_used; t++) {
    Topic& topic = topic_at(t);
    if (!topic.in_use) continue;
    auto& bucket = bucket_of(topic.name_view());
    topic.next = bucket;
    bucket = t;
    topic.count = 0;
    topic.bytes = 0;
    uint32_t newest = 0;
    for (uint32_t index = topic.oldest; index && !reached[index];) {
      auto& kept = *reinterpret_cast<Kept*>(block_at(index).bytes);
      reach(index);
      topic.count++;
      topic.bytes += kept.payload_size;
      newest = index;
      index = kept.next_entry;
    }
    topic.newest = newest;
  }
  header_.first_free = 0;
  header_.free_blocks = 0;
  for (uint32_t index = 1; index <= header_.blocks_used; index++)
    if (!reached[index]) free_chain((block_at(index).next = 0, index));
  // The counts of records are what readers tell their losses by; a record more or less does not
  // matter to anybody else.
}

}  // namespace mws
