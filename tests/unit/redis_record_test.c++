#include "src/pubsub/redis_record.h"

#include <gtest/gtest.h>

#include <set>

#include "src/pubsub/redis_known.h"

namespace mws {
namespace {

Publication example() {
  Publication publication;
  publication.payload = bytes_of("grüße\n");
  publication.origin = {0x0123456789abcdef, 77};
  return publication;
}

TEST(RedisRecord, ComesBackAsItWas) {
  for (int flags = 0; flags < 16; flags++) {
    Publication given = example();
    given.type = flags & 1 ? Opcode::binary : Opcode::text;
    given.may_compress = flags & 2;
    given.kept = flags & 4;
    given.provisional_id = flags & 8 ? kMaxId : 0;
    std::string record = encode_redis_record(given);
    auto got = decode_redis_record(record);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->type, given.type);
    EXPECT_EQ(got->may_compress, given.may_compress);
    EXPECT_EQ(got->kept, given.kept);
    EXPECT_EQ(got->provisional_id, given.provisional_id);
    EXPECT_EQ(got->origin.process, given.origin.process);
    EXPECT_EQ(got->origin.number, given.origin.number);
    EXPECT_EQ(text_of(got->payload), text_of(given.payload));
    std::string sent = "9007199254740991\n" + record;
    auto message = decode_redis_message(sent);
    ASSERT_TRUE(message);
    EXPECT_EQ(message->id, kMaxId);
    EXPECT_EQ(text_of(message->payload), text_of(given.payload));
  }
}

TEST(RedisRecord, IsRefusedWhereItIsNone) {
  std::string record = encode_redis_record(example());
  size_t head = record.size() - example().payload.size();
  for (size_t size = 0; size < head; size++)
    EXPECT_FALSE(decode_redis_record(record.substr(0, size))) << size;
  EXPECT_TRUE(decode_redis_record(record.substr(0, head)));
  EXPECT_FALSE(decode_redis_record("w2" + record.substr(2)));
  EXPECT_FALSE(decode_redis_record(std::string("w1\x10") + record.substr(3)));
  EXPECT_FALSE(decode_redis_record(record + "\xff"));  // a text has to be UTF-8
  Publication told = example();
  told.provisional_id = 1;
  std::string told_record = encode_redis_record(told);
  for (size_t size = head; size < head + 8; size++)
    EXPECT_FALSE(decode_redis_record(told_record.substr(0, size))) << size;
  EXPECT_TRUE(decode_redis_record(told_record.substr(0, head + 8)));
  told_record[head] = 0;  // no id
  EXPECT_FALSE(decode_redis_record(told_record));
  told_record[head + 7] = 1;  // too high
  EXPECT_FALSE(decode_redis_record(told_record));
  record[2] = 1;
  EXPECT_TRUE(decode_redis_record(record + "\xff"));
  for (std::string id :
       {"", "0", "01", "-1", "+1", " 1", "1 ", "1x", "9007199254740992", "18446744073709551617"})
    EXPECT_FALSE(decode_redis_message(id + "\n" + record)) << id;
  EXPECT_FALSE(decode_redis_message("12"));
  EXPECT_FALSE(decode_redis_message("12\n"));
}

TEST(RedisNames, AreDistinctAndLeadBack) {
  std::vector<std::string> topics = {"a",
                                     "{",
                                     "}",
                                     "{}",
                                     "a}:s",
                                     "%",
                                     "%7B",
                                     "%25",
                                     "a\nb",
                                     "\xc3\xbc",
                                     ":c",
                                     "a}:c2",
                                     std::string(255, '{')};
  for (uint32_t database : {0u, 2u}) {
    std::set<std::string> names;
    RedisNames of{"p:", database};
    for (const auto& topic : topics) {
      for (const auto& name : {of.stream(topic), of.facts(topic), of.channel(topic)}) {
        EXPECT_TRUE(names.insert(name).second) << name;
        // What a cluster goes by: between the first brace and the next that closes.
        size_t open = name.find('{'), close = name.find('}', open);
        EXPECT_EQ(name.substr(0, close), of.stream(topic).substr(0, close));
        EXPECT_GT(close, open + 1);
        EXPECT_EQ(name.rfind('}'), close);
      }
      EXPECT_EQ(of.topic_of(of.channel(topic)), topic);
      EXPECT_FALSE(of.topic_of(of.stream(topic)));
      EXPECT_FALSE((RedisNames{"p:", 3}.topic_of(of.channel(topic))));
      EXPECT_FALSE((RedisNames{"q:", database}.topic_of(of.channel(topic))));
    }
  }
  RedisNames of{"p:"};
  for (std::string name : {"", "p:", "p:{}:c", "p:{", "p:{a", "p:{%}:c", "p:{%7}:c", "p:{%7b}:c",
                           "p:{%41}:c", "p:{\xff}:c", "p:{a}b}:c"})
    EXPECT_FALSE(of.topic_of(name)) << name;
  EXPECT_FALSE(of.topic_of("p:{" + std::string(256, 'a') + "}:c"));
}

TEST(RedisKnown, SeenIsWhatHasComeFromRedis) {
  NumbersSoFar seen;
  EXPECT_FALSE(seen.has({1, 1}));
  seen.note({1, 5});
  seen.note({1, 3});
  EXPECT_TRUE(seen.has({1, 5}));
  EXPECT_TRUE(seen.has({1, 1}));
  EXPECT_FALSE(seen.has({1, 6}));
  EXPECT_FALSE(seen.has({2, 1}));
  for (uint64_t i = 0; i < NumbersSoFar::kMost; i++) seen.note({100 + i, 1});
  EXPECT_FALSE(seen.has({1, 5}));  // that was too long ago
  EXPECT_TRUE(seen.has({100, 1}));
}

TEST(RedisKnown, ToldHereIsWhatHadProvisionalIds) {
  ToldHere told;
  EXPECT_EQ(told.id_of({1, 1}, 7), 0u);
  EXPECT_FALSE(told.span_of(1000));
  told.note({1, 1}, 1'000'000);
  told.note({1, 2}, 1'000'001);
  told.note({2, 1}, 1'000'002);
  told.note({1, 3}, 9'000'000);
  EXPECT_EQ(told.id_of({1, 2}, 0), 1'000'001u);
  auto span = told.span_of(1'000'001);
  ASSERT_TRUE(span);
  EXPECT_EQ(span->first, 1'000'000u);
  EXPECT_EQ(span->last, 1'000'002u);
  EXPECT_FALSE(told.span_of(1'000'003));
  EXPECT_TRUE(told.span_of(9'000'000));
  for (uint64_t i = 0; i < ToldHere::kMost; i++) told.note({3, i}, 9'000'001 + i);
  EXPECT_EQ(told.id_of({1, 1}, 0), 0u);
  EXPECT_EQ(told.id_of({3, 5}, 0), 9'000'006u);
}

// An outbox sends the oldest, of which a long absence leaves nothing known here.
TEST(RedisKnown, OfMoreThanIsKnownTheRecordTells) {
  ToldHere told;
  constexpr uint64_t kFirst = 9'000'000, kMost = ToldHere::kMost;
  for (uint64_t i = 0; i < 2 * kMost; i++) told.note({3, i}, kFirst + i);
  EXPECT_EQ(told.id_of({3, 5}, kFirst + 5), kFirst + 5);
  EXPECT_EQ(told.id_of({3, kMost - 1}, kFirst + kMost - 1), kFirst + kMost - 1);
  EXPECT_EQ(told.id_of({3, kMost}, 0), kFirst + kMost);
  EXPECT_EQ(told.id_of({3, 2 * kMost}, 7), 0u);  // not told yet
  EXPECT_EQ(told.id_of({4, 5}, 7), 0u);          // of another server
  EXPECT_EQ(told.id_of({3, 5}, 0), 0u);
}

}  // namespace
}  // namespace mws
