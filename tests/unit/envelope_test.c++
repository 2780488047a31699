// Envelopes: what clients of topics.v1 send, and what the server sends them.
#include "handlers/topics/envelope.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "src/protocol/utf8.h"
#include "src/pubsub/delivery.h"
#include "tests/unit/plain_envelope.h"

namespace mws {
namespace {

using nlohmann::json;

// --- What the server sends, read by another library ---

json read(std::string_view topic, uint64_t id, Opcode type, Bytes payload) {
  std::string text = envelope(topic, id, type, payload);
  EXPECT_TRUE(is_utf8(bytes_of(text)));
  return json::parse(text);
}

TEST(EnvelopeMade, HasItsMembersInThisOrder) {
  EXPECT_EQ(envelope("a", 7, Opcode::text, bytes_of("hello")),
            R"({"type":"message","topic":"a","id":7,"data":"hello"})");
  EXPECT_EQ(envelope("a", 7, Opcode::binary, bytes_of("hello")),
            R"({"type":"message","topic":"a","id":7,"data":"aGVsbG8=","encoding":"base64"})");
}

TEST(EnvelopeMade, HoldsEveryCharacterOfTopicAndText) {
  for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 0x101) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text = "<";
    if (code < 0x80) text += char(code);
    else if (code < 0x800) text += {char(0xc0 | code >> 6), char(0x80 | (code & 63))};
    else if (code < 0x10000)
      text += {char(0xe0 | code >> 12), char(0x80 | (code >> 6 & 63)), char(0x80 | (code & 63))};
    else
      text += {char(0xf0 | code >> 18), char(0x80 | (code >> 12 & 63)),
               char(0x80 | (code >> 6 & 63)), char(0x80 | (code & 63))};
    text += '>';
    json got = read(text, 1, Opcode::text, bytes_of(text));
    ASSERT_EQ(got["topic"], text) << code;
    ASSERT_EQ(got["data"], text) << code;
    ASSERT_FALSE(got.contains("encoding"));
  }
}

TEST(EnvelopeMade, HoldsTheGreatestId) {
  uint64_t most = (uint64_t(1) << 53) - 1;
  EXPECT_EQ(read("a", most, Opcode::text, {})["id"], most);
}

TEST(EnvelopeMade, HoldsEveryByteInEveryPlace) {
  for (size_t size = 0; size < 9; size++)
    for (size_t place = 0; place < size; place++)
      for (int byte = 0; byte < 256; byte++) {
        std::vector<uint8_t> payload(size, 0xa5);
        payload[place] = uint8_t(byte);
        json got = read("t", 1, Opcode::binary, payload);
        ASSERT_EQ(got["encoding"], "base64");
        std::string bytes;
        ASSERT_TRUE(test::plain_base64(got["data"].get<std::string>(), bytes));
        ASSERT_EQ(bytes, text_of(Bytes(payload)));
        ASSERT_EQ(topics::from_base64(got["data"].get<std::string>()), bytes);
      }
}

// --- What clients send ---

TEST(EnvelopeRead, OfEverySeedIsWhatThePlainReaderReads) {
  size_t seeds = 0, good = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(TEST_SOURCE_DIR "/tests/fuzz/seeds/envelope")) {
    std::ifstream stream(file.path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(stream)), {});
    topics::Envelope plain;
    topics::Parsed parsed = topics::parse(text);
    ASSERT_EQ(test::plain_parse(text, plain), !parsed.error) << file.path();
    seeds++;
    if (parsed.error) continue;
    good++;
    EXPECT_EQ(parsed.envelope.topic, plain.topic) << file.path();
    EXPECT_EQ(parsed.envelope.data, plain.data) << file.path();
    EXPECT_EQ(parsed.envelope.ref, plain.ref) << file.path();
    EXPECT_EQ(parsed.envelope.since, plain.since) << file.path();
  }
  EXPECT_GT(seeds, 30u);
  EXPECT_GT(good, 12u);
}

TEST(EnvelopeRead, WithAnErrorKeepsTopicAndRefForTheAnswer) {
  auto parsed = topics::parse(R"({"ref":"r","topic":"t","type":"publish"})");
  EXPECT_STREQ(parsed.error, "data is not a text");
  EXPECT_EQ(parsed.envelope.topic, "t");
  EXPECT_EQ(parsed.envelope.ref, "r");
}

TEST(EnvelopeRead, OfACutMessageIsNever) {
  std::string whole =
      R"({"type":"publish","topic":"t","data":"/w==","encoding":"base64","ref":-5,"x":[{"y":1.5}]})";
  for (size_t size = 0; size < whole.size(); size++)
    EXPECT_TRUE(topics::parse(whole.substr(0, size)).error) << size;
  EXPECT_FALSE(topics::parse(whole).error);
}

// --- Topics and who may use them ---

TEST(TopicsRules, TheirUtf8IsThatOfTheServer) {
  for (uint32_t bytes = 0; bytes < 0x10000; bytes++)
    for (std::string_view tail : {"", "\x80", "\xbf\x80", "a"}) {
      std::string text{char(bytes >> 8), char(bytes)};
      text += tail;
      ASSERT_EQ(topics::is_utf8(text), is_utf8(bytes_of(text))) << bytes << tail;
    }
}

TEST(TopicsRules, AllowWhatAPatternSays) {
  auto allows = [](std::string_view rule, std::string_view topic,
                   std::optional<std::string_view> user = std::nullopt) {
    return topics::Rules("publish", rule).allow(topic, user);
  };
  EXPECT_TRUE(allows("on", "anything"));
  EXPECT_FALSE(allows("off", "off"));
  EXPECT_TRUE(allows("a", "a"));
  EXPECT_FALSE(allows("a", "ab"));
  EXPECT_TRUE(allows("  b\t a ", "a"));
  EXPECT_TRUE(allows("*", "a"));
  EXPECT_TRUE(allows("a*", "a"));
  EXPECT_TRUE(allows("*a", "bca"));
  EXPECT_FALSE(allows("*a", "bcab"));
  EXPECT_TRUE(allows("a*b*c", "abbc"));
  EXPECT_TRUE(allows("a*b*c", "axbybzc"));
  EXPECT_FALSE(allows("a*b*c", "ac"));
  EXPECT_FALSE(allows("ab*ba", "aba"));
  EXPECT_TRUE(allows("**", "x"));
  EXPECT_TRUE(allows("{user}", "alice", "alice"));
  EXPECT_FALSE(allows("{user}", "bob", "alice"));
  EXPECT_FALSE(allows("{user}", "", ""));
  EXPECT_FALSE(allows("x{user}", "x", ""));
  EXPECT_FALSE(allows("{user}", "{user}"));
  EXPECT_TRUE(allows("u/{user}/*", "u/*/x", "*"));
  EXPECT_FALSE(allows("u/{user}/*", "u/bob/x", "*"));
  EXPECT_TRUE(allows("{user}-{user}", "{user}-{user}", "{user}"));
}

}  // namespace
}  // namespace mws
