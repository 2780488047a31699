// The ring: how publications go from child to child.
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/base/clock.h"
#include "src/pubsub/shared_topics_parts.h"

namespace mws {

namespace {

struct RingRecord {
  uint32_t size, payload_size;
  uint64_t id, process, number;
  uint8_t type, may_compress, topic_size;
};

constexpr size_t kLongestRead = 256 * 1024;  // bytes

}  // namespace

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
      wake(descriptors_[seat % descriptors_.size()]);
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
    missed = std::max<uint64_t>(header.tail_count - count_, 1);  // a death may have cost one count
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

}  // namespace mws
