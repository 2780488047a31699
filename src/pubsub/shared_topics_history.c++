// The histories of topics: entries in blocks of memory that all topics share.
#include <algorithm>
#include <cstring>

#include "src/base/clock.h"
#include "src/pubsub/shared_topics_parts.h"

namespace mws {

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
