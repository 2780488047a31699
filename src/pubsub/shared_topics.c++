#include "src/pubsub/shared_topics.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>

#include "src/base/clock.h"
#include "src/pubsub/shared_topics_parts.h"

namespace mws {

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
  make_shared_mutex(header.lock);
}

SharedTopics::SharedTopics(void* memory, std::span<const int> descriptors,
                           const HistoryLimits& history, uint64_t max_subscribers)
    : memory_(static_cast<uint8_t*>(memory)),
      header_(*static_cast<Header*>(memory)),
      descriptors_(descriptors.begin(), descriptors.end()),
      history_(history),
      max_subscribers_(max_subscribers),
      seat_(UINT32_MAX) {}

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
    if (!seats()[i].process.compare_exchange_strong(expected, 0)) continue;
    // It may have died when it was about to wake somebody.
    for (int descriptor : descriptors_) wake(descriptor);
    return;
  }
}

void SharedTopics::wake(int descriptor) {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t size = write(descriptor, &one, sizeof one);
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
  constexpr uint32_t kLooked = 64, kMostLooked = 1024;
  uint32_t chosen = 0;
  uint32_t most = std::min(header_.sizes.topics, kMostLooked);
  for (uint32_t looked = 0; looked < most && (looked < kLooked || !chosen); looked++) {
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
  if (topic->subscribers[seat]) return;
  // Perhaps it can be given up: who looks for one looks there first.
  auto offset = reinterpret_cast<uint8_t*>(topic) - memory_ - ptrdiff_t(header_.topics_at);
  header_.topic_hand = uint32_t(size_t(offset) / header_.topic_bytes);
}

SharedTopics::State SharedTopics::state(std::string_view name) {
  Lock hold(*this);
  Topic* topic = find(name);
  if (!topic) return {};
  drop_old(*topic);
  return {subscribers_of(*topic), topic->count, topic->last_id};
}

}  // namespace mws
