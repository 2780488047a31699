// A slow reader of what src/pubsub/redis_record.h writes, by its description.
#pragma once
#include <optional>
#include <string>

#include "src/pubsub/redis_record.h"
#include "tests/unit/plain_utf8.h"

namespace mws::test {

struct PlainRecord {
  uint64_t id = 0;
  int flags = 0;
  uint64_t process = 0, number = 0, provisional_id = 0;
  std::string payload;
};

inline std::optional<PlainRecord> plain_record(const std::string& bytes) {
  if (bytes.size() < 19 || bytes[0] != 'w' || bytes[1] != '1') return std::nullopt;
  PlainRecord record;
  record.flags = uint8_t(bytes[2]);
  if (record.flags > 15) return std::nullopt;
  for (size_t i = 11; i > 3; i--) record.process = record.process * 256 + uint8_t(bytes[i - 1]);
  for (size_t i = 19; i > 11; i--) record.number = record.number * 256 + uint8_t(bytes[i - 1]);
  size_t head = record.flags & 8 ? 27 : 19;
  if (bytes.size() < head) return std::nullopt;
  for (size_t i = head; i > 19; i--)
    record.provisional_id = record.provisional_id * 256 + uint8_t(bytes[i - 1]);
  if ((record.flags & 8 && !record.provisional_id) || record.provisional_id >= uint64_t(1) << 53)
    return std::nullopt;
  record.payload = bytes.substr(head);
  if (record.flags % 2 == 0 && !decode(bytes_of(record.payload)).complete) return std::nullopt;
  return record;
}

inline std::optional<PlainRecord> plain_message(const std::string& bytes) {
  size_t end = bytes.find('\n');
  if (end == bytes.npos || end == 0 || end > 16 || bytes[0] == '0') return std::nullopt;
  uint64_t id = 0;
  for (size_t i = 0; i < end; i++) {
    if (bytes[i] < '0' || bytes[i] > '9') return std::nullopt;
    id = id * 10 + uint64_t(bytes[i] - '0');
  }
  if (id >= uint64_t(1) << 53) return std::nullopt;
  auto record = plain_record(bytes.substr(end + 1));
  if (record) record->id = id;
  return record;
}

}  // namespace mws::test
