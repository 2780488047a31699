#include "src/pubsub/redis_record.h"

#include <charconv>

namespace mws {

namespace {

constexpr std::string_view kMagic = "w1";
constexpr size_t kHeadBytes = 2 + 1 + 8 + 8;
constexpr size_t kProvisionalBytes = 8;
constexpr uint8_t kBinary = 1, kUncompressed = 2, kTransient = 4, kWasProvisional = 8;

void append_number(std::string& to, uint64_t number) {
  for (int i = 0; i < 8; i++) to += char(number >> i * 8);
}

uint64_t read_number(std::string_view bytes) {
  uint64_t number = 0;
  for (int i = 0; i < 8; i++) number |= uint64_t(uint8_t(bytes[size_t(i)])) << i * 8;
  return number;
}

constexpr std::string_view kEscaped = "{}%", kEscapes[] = {"%7B", "%7D", "%25"};

std::string escaped(std::string_view topic) {
  std::string out;
  for (char each : topic) {
    size_t which = kEscaped.find(each);
    if (which == kEscaped.npos) out += each;
    else out += kEscapes[which];
  }
  return out;
}

// Only of what escaped() makes.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    size_t which = kEscaped.find(text[i]);
    if (which == kEscaped.npos) {
      out += text[i];
      continue;
    }
    for (which = 0; which < 3 && text.substr(i, 3) != kEscapes[which]; which++) {
    }
    if (which == 3) return std::nullopt;
    out += kEscaped[which];
    i += 2;
  }
  return out;
}

}  // namespace

std::string encode_redis_record(const Publication& publication) {
  std::string record(kMagic);
  record.reserve(kHeadBytes + kProvisionalBytes + publication.payload.size());
  record +=
      char((publication.type == Opcode::binary ? kBinary : 0) |
           (publication.may_compress ? 0 : kUncompressed) | (publication.kept ? 0 : kTransient) |
           (publication.provisional_id ? kWasProvisional : 0));
  append_number(record, publication.origin.process);
  append_number(record, publication.origin.number);
  if (publication.provisional_id) append_number(record, publication.provisional_id);
  record += text_of(publication.payload);
  return record;
}

std::optional<Publication> decode_redis_record(std::string_view record) {
  if (!record.starts_with(kMagic) || record.size() < kHeadBytes) return std::nullopt;
  uint8_t flags = uint8_t(record[2]);
  if (flags & ~(kBinary | kUncompressed | kTransient | kWasProvisional)) return std::nullopt;
  Publication publication;
  publication.type = flags & kBinary ? Opcode::binary : Opcode::text;
  publication.may_compress = !(flags & kUncompressed);
  publication.kept = !(flags & kTransient);
  publication.origin = {read_number(record.substr(3)), read_number(record.substr(11))};
  record.remove_prefix(kHeadBytes);
  if (flags & kWasProvisional) {
    if (record.size() < kProvisionalBytes) return std::nullopt;
    publication.provisional_id = read_number(record);
    if (!publication.provisional_id || publication.provisional_id > kMaxId) return std::nullopt;
    record.remove_prefix(kProvisionalBytes);
  }
  publication.payload = bytes_of(record);
  if (publication.payload.size() > kMaxRedisPayload) return std::nullopt;
  if (publication.type == Opcode::text && !is_utf8(publication.payload)) return std::nullopt;
  return publication;
}

std::optional<Publication> decode_redis_message(std::string_view message) {
  uint64_t id = 0;
  auto [end, error] = std::from_chars(message.data(), message.data() + message.size(), id);
  size_t digits = size_t(end - message.data());
  if (error != std::errc() || digits == message.size() || *end != '\n' || message[0] == '0' ||
      id > kMaxId)
    return std::nullopt;
  auto publication = decode_redis_record(message.substr(digits + 1));
  if (publication) publication->id = id;
  return publication;
}

std::string RedisNames::stream(std::string_view topic) const {
  return prefix + "{" + escaped(topic) + "}:s";
}

std::string RedisNames::facts(std::string_view topic) const {
  return prefix + "{" + escaped(topic) + "}:f";
}

std::string RedisNames::channel(std::string_view topic) const {
  std::string name = prefix + "{" + escaped(topic) + "}:c";
  return database ? name + std::to_string(database) : name;
}

std::optional<std::string> RedisNames::topic_of(std::string_view channel) const {
  std::string end = database ? "}:c" + std::to_string(database) : "}:c";
  size_t around = prefix.size() + 1 + end.size();
  if (channel.size() <= around || !channel.starts_with(prefix + "{") || !channel.ends_with(end))
    return std::nullopt;
  auto topic = unescaped(channel.substr(prefix.size() + 1, channel.size() - around));
  return topic && is_topic(*topic) ? topic : std::nullopt;
}

}  // namespace mws
