// Inflater, Deflater, and what sessions share of them.
#include "src/protocol/deflate.h"

#include "tests/unit/deflate_support.h"

namespace mws::test {
namespace {

using Result = Inflater::Result;

struct Inflated {
  Result result;
  std::string message;
};

// A message, its payload in pieces of so many bytes.
Inflated inflate(Inflater& inflater, std::string_view payload, size_t piece = SIZE_MAX,
                 uint64_t limit = 1 << 24) {
  Buffer out;
  Result result = Result::good;
  while (result == Result::good && !payload.empty()) {
    result = inflater.inflate(bytes_of(payload.substr(0, piece)), out, limit);
    payload.remove_prefix(std::min(piece, payload.size()));
  }
  if (result == Result::good) result = inflater.finish(out, limit);
  return {result, std::string(text_of(out.bytes()))};
}

// With a fresh inflater; the same in one piece, byte by byte, and in threes.
Inflated inflate(std::string_view payload, uint64_t limit = 1 << 24) {
  Inflater one(15), ones(15), threes(15);
  Inflated whole = inflate(one, payload, SIZE_MAX, limit);
  for (const Inflated& other :
       {inflate(ones, payload, 1, limit), inflate(threes, payload, 3, limit)}) {
    EXPECT_EQ(other.result, whole.result);
    EXPECT_EQ(other.message, whole.message);
  }
  return whole;
}

std::string deflate(Deflater& deflater, std::string_view message) {
  Buffer out;
  deflater.deflate(bytes_of(message), out);
  return std::string(text_of(out.bytes()));
}

std::string bytes(std::initializer_list<int> list) { return std::string(list.begin(), list.end()); }

std::vector<std::string> samples() {
  return {"a",         "Hello",      std::string(300, 'x'),  json(256),     json(1024), json(40000),
          noise(1000), noise(70000), std::string(200000, 0), json(1 << 20), noise(3)};
}

// --- Inflating ---

TEST(Inflater, ReadsTheExamplesOfRfc7692) {
  const std::string hello = "Hello";
  EXPECT_EQ(inflate(bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00})).message, hello);
  // A stored block, a last block, two blocks.
  EXPECT_EQ(
      inflate(bytes({0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00})).message,
      hello);
  EXPECT_EQ(inflate(bytes({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00})).message, hello);
  EXPECT_EQ(
      inflate(bytes({0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00}))
          .message,
      hello);
  EXPECT_EQ(inflate(bytes({0x00})).result, Result::good);
  EXPECT_EQ(inflate(bytes({0x00})).message, "");
  // The second message refers to the first.
  Inflater inflater(15);
  EXPECT_EQ(inflate(inflater, bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00})).message, hello);
  EXPECT_EQ(inflate(inflater, bytes({0xf2, 0x00, 0x11, 0x00, 0x00})).message, hello);
  inflater.reset();
  EXPECT_EQ(inflate(inflater, bytes({0xf2, 0x00, 0x11, 0x00, 0x00})).result, Result::corrupt);
}

TEST(Inflater, ReadsWhatZlibWritesOnEachLevel) {
  for (const std::string& message : samples())
    for (int level : {0, 1, 6, 9}) {
      Inflated got = inflate(deflated(message, level));
      EXPECT_EQ(got.result, Result::good);
      EXPECT_EQ(got.message, message);
    }
}

TEST(Inflater, KeepsTheWindowOverMessagesAndLastBlocks) {
  for (int bits : {9, 12, 15}) {
    PlainDeflater client(6, bits);
    Inflater inflater(bits);
    for (unsigned i = 0; i < 20; i++) {
      std::string message = json(3000, i % 3);
      EXPECT_EQ(inflate(inflater, client.deflate(message), 100).message, message);
    }
  }
  // A last block, then one that refers to what it held.
  Inflater inflater(15);
  std::string payload =
      bytes({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x00, 0x11, 0x00, 0x00});
  EXPECT_EQ(inflate(inflater, payload).message, "HelloHello");
}

TEST(Inflater, TakesStreamsThatEndInAMessage) {
  std::string end = PlainDeflater().deflate("one ", Z_FINISH);
  EXPECT_EQ(inflate(end + end + end + bytes({0})).message, "one one one ");
  EXPECT_EQ(inflate(end).message, "one ") << "without the empty block";
  EXPECT_EQ(inflate(deflated("two") + bytes({0, 0, 0xff, 0xff})).message, "two")
      << "with the end of the flush";
  EXPECT_EQ(inflate("").result, Result::good);
}

// Among the sizes are those that fill the memory reserved ahead exactly.
TEST(Inflater, TakesTheEndOfTheFlushAfterAMessageOfAnySize) {
  for (size_t size = 1; size < 9000; size++) {
    if (size > 100 && size % 1024 > 4 && size % 1024 < 1020) continue;
    std::string message = std::string(size, 'x');
    Inflated got = inflate(deflated(message) + bytes({0, 0, 0xff, 0xff}));
    EXPECT_EQ(got.result, Result::good) << size;
    EXPECT_EQ(got.message, message) << size;
  }
}

TEST(Inflater, SaysWhatIsCorrupt) {
  for (const std::string& payload :
       {bytes({0x07}), bytes({0xff}), bytes({0x00, 0x05, 0x00, 0xfa, 0xfe, 'H'}),
        bytes({0xf2, 0x00, 0x11, 0x00, 0x00}), std::string(100, '\xff'), noise(1000)})
    EXPECT_EQ(inflate(payload).result, Result::corrupt) << testing::PrintToString(payload);
  std::string whole = deflated(json(2000));
  for (size_t size = 1; size + 1 < whole.size(); size++) {
    Inflated cut = inflate(whole.substr(0, size));
    EXPECT_EQ(cut.result, Result::corrupt) << size;
  }
}

TEST(Inflater, IsGoodAgainAfterAReset) {
  Inflater inflater(15);
  for (const std::string& bad :
       {noise(50), deflated("cut off").substr(0, 4), std::string("\x07")}) {
    EXPECT_EQ(inflate(inflater, bad).result, Result::corrupt);
    inflater.reset();
    EXPECT_EQ(inflate(inflater, deflated("good")).message, "good");
  }
}

TEST(Inflater, StopsOneBytePastTheLimit) {
  for (size_t size : {0, 1, 2, 1000, 4095, 4096, 300000}) {
    std::string payload = deflated(std::string(size, 'x'));
    EXPECT_EQ(inflate(payload, size).result, Result::good) << size;
    EXPECT_EQ(inflate(payload, size).message.size(), size);
    for (size_t over : {1, 2, 1000}) {
      if (over > size) continue;
      Inflated cut = inflate(payload, size - over);
      EXPECT_EQ(cut.result, Result::too_big) << size;
      EXPECT_EQ(cut.message.size(), size - over + 1);
    }
  }
}

// zlib looks ahead of what it has room for; pieces may end before that.
TEST(Inflater, StopsAtTheLimitWhateverFollows) {
  std::string payload = bytes({0x4b, 0x00, 0xfe, 0xec});
  EXPECT_EQ(inflate(payload, 1).result, Result::corrupt);
  Inflated cut = inflate(payload, 0);
  EXPECT_EQ(cut.result, Result::too_big);
  EXPECT_EQ(cut.message, "`");
}

// --- Deflating ---

class EveryDeflater : public testing::TestWithParam<std::tuple<int, int, bool>> {};

TEST_P(EveryDeflater, WritesWhatAClientWithThatWindowReads) {
  auto [level, window_bits, takeover] = GetParam();
  auto deflater = Deflater::make(level, window_bits, takeover);
  PlainInflater with_takeover(window_bits);
  for (int round = 0; round < 2; round++)
    for (const std::string& message : samples()) {
      if (message.size() > 100000 && level % 3) continue;
      std::string payload = deflate(*deflater, message);
      EXPECT_FALSE(payload.ends_with(bytes({0, 0, 0xff, 0xff})));
      EXPECT_LE(payload.size(), message.size() + message.size() / 16 + 64);
      if (message.size() > 200 && message[0] == '{') {
        EXPECT_LT(payload.size(), message.size());
      }
      PlainInflater fresh(window_bits);
      EXPECT_EQ(inflated(takeover ? with_takeover : fresh, payload), message) << message.size();
    }
}

TEST_P(EveryDeflater, RefersToEarlierMessagesWithTakeoverOnly) {
  auto [level, window_bits, takeover] = GetParam();
  auto deflater = Deflater::make(level, window_bits, takeover);
  std::string message = noise(100), first = deflate(*deflater, message),
              second = deflate(*deflater, message);
  if (takeover) EXPECT_LT(second.size(), 50u);
  else EXPECT_EQ(second, first);
}

INSTANTIATE_TEST_SUITE_P(Deflater, EveryDeflater,
                         testing::Combine(testing::Range(1, 10), testing::Values(8, 9, 12, 15),
                                          testing::Bool()));

TEST(Deflater, NeverEndsItsStream) {
  for (int level = 1; level <= 9; level++) {
    PlainInflater client;
    auto deflater = Deflater::make(level, 15, false);
    for (const std::string& message : samples())
      EXPECT_EQ(inflated(client, deflate(*deflater, message)), message);
  }
}

TEST(Deflater, KnowsWhatMemoryItTakes) {
  EXPECT_GT(Deflater::make(6, 15, true)->memory_bytes(), 250'000u);
  EXPECT_LT(Deflater::make(6, 15, true)->memory_bytes(), 300'000u);
  EXPECT_LT(Deflater::make(6, 9, true)->memory_bytes(), 13'000u);
  EXPECT_LT(Inflater(15).memory_bytes(), 45'000u);
  EXPECT_LT(Inflater(9).memory_bytes(), 10'000u);
}

// --- Sharing ---

TEST(DeflateShare, HandsOutWhatRefersToNoMessageBefore) {
  DeflateShare share;
  EXPECT_EQ(inflate(share.inflater(), bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00})).message,
            "Hello");
  EXPECT_EQ(inflate(share.inflater(), bytes({0xf2, 0x00, 0x11, 0x00, 0x00})).result,
            Result::corrupt);
  EXPECT_EQ(inflate(share.inflater(), deflated("good")).message, "good");
  Deflater& deflater = share.deflater(6, 15);
  EXPECT_EQ(&share.deflater(6, 15), &deflater);
  EXPECT_NE(&share.deflater(6, 14), &deflater);
  EXPECT_NE(&share.deflater(5, 15), &deflater);
  std::string message = noise(100);
  EXPECT_EQ(deflate(deflater, message), deflate(deflater, message));
}

TEST(DeflateShare, KeepsBuffersThatAreNotLarge) {
  DeflateShare share;
  Buffer small, large;
  uint8_t* at = small.grow(1000, 0);
  large.grow(1 << 20, 0);
  share.give_back(std::move(large));
  share.give_back(std::move(small));
  Buffer again = share.take_buffer();
  EXPECT_EQ(again.size(), 0u);
  EXPECT_EQ(again.grow(1000, 0), at);
  EXPECT_EQ(share.take_buffer().spare(1, 1).size(), 1u) << "the large one was freed";
}

}  // namespace
}  // namespace mws::test
