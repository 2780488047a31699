#include "src/engine/cork.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace mws {
namespace {

std::string gathered(const Cork& cork) {
  std::string all;
  for (const iovec& piece : cork.pieces())
    all.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  return all;
}

bool add(Cork& cork, std::string_view header, std::string_view payload, bool stays) {
  return cork.add(bytes_of(header), bytes_of(payload), stays);
}

TEST(Cork, HoldsNothingAtFirstAndAfterClear) {
  Cork cork;
  EXPECT_TRUE(cork.pieces().empty());
  EXPECT_EQ(cork.bytes(), 0u);
  ASSERT_TRUE(add(cork, "h", "payload", false));
  cork.clear();
  EXPECT_TRUE(cork.pieces().empty());
  EXPECT_EQ(cork.bytes(), 0u);
  ASSERT_TRUE(add(cork, "h", "again", false));
  EXPECT_EQ(gathered(cork), "hagain");
}

TEST(Cork, CopiesWhatDoesNotStay) {
  Cork cork;
  std::string payload(Cork::kReferFrom, 'a');
  ASSERT_TRUE(add(cork, "h", payload, false));
  payload.assign(payload.size(), '#');
  EXPECT_EQ(gathered(cork), "h" + std::string(Cork::kReferFrom, 'a'));
}

TEST(Cork, CopiesWhatIsSmallAndRefersToWhatIsLarge) {
  std::string small(Cork::kReferFrom - 1, 's'), large(Cork::kReferFrom, 'l');
  Cork cork;
  ASSERT_TRUE(add(cork, "h", small, true));
  ASSERT_EQ(cork.pieces().size(), 1u);
  ASSERT_TRUE(add(cork, "h", large, true));
  ASSERT_EQ(cork.pieces().size(), 2u);
  EXPECT_EQ(cork.pieces()[1].iov_base, large.data());
  EXPECT_EQ(cork.pieces()[1].iov_len, large.size());
}

// A message in a receive buffer, behind its client's header.
struct Received {
  explicit Received(std::string payload) : buffer("123456" + payload) {}
  Bytes payload() const { return bytes_of(buffer).subspan(6); }
  std::string buffer;
};

TEST(Cork, LeavesALoneMessageWhereItIs) {
  Cork cork;
  Received small("payload");
  cork.begin_in_place(bytes_of("hd"), small.payload());
  ASSERT_EQ(cork.pieces().size(), 1u);
  EXPECT_EQ(cork.pieces()[0].iov_base, small.buffer.data() + 4);
  EXPECT_EQ(gathered(cork), "hdpayload");
  EXPECT_EQ(small.buffer, "1234hdpayload");
  EXPECT_EQ(cork.bytes(), 9u);
}

TEST(Cork, CopiesASmallOneTogetherWithWhatFollows) {
  Cork cork;
  Received small("payload");
  cork.begin_in_place(bytes_of("hd"), small.payload());
  ASSERT_TRUE(add(cork, "h2", "next", false));
  small.buffer.assign(small.buffer.size(), '#');
  EXPECT_EQ(cork.pieces().size(), 1u);
  EXPECT_EQ(gathered(cork), "hdpayloadh2next");
  cork.clear();
  ASSERT_TRUE(add(cork, "h3", "alone", false));
  EXPECT_EQ(gathered(cork), "h3alone");
}

TEST(Cork, RefersToALargeOneBesideWhatFollows) {
  Cork cork;
  Received large(std::string(Cork::kReferFrom, 'l'));
  cork.begin_in_place(bytes_of("hd"), large.payload());
  ASSERT_TRUE(add(cork, "h2", "next", false));
  ASSERT_EQ(cork.pieces().size(), 2u);
  EXPECT_EQ(gathered(cork), "hd" + std::string(Cork::kReferFrom, 'l') + "h2next");
}

TEST(Cork, PutsPiecesThatAreCopiedTogether) {
  std::string large(Cork::kReferFrom, 'l');
  Cork cork;
  for (int i = 0; i < 100; i++) ASSERT_TRUE(add(cork, "head", "payload", i % 2));
  EXPECT_EQ(cork.pieces().size(), 1u);
  ASSERT_TRUE(add(cork, "head", large, true));
  for (int i = 0; i < 100; i++) ASSERT_TRUE(add(cork, "head", "payload", i % 2));
  EXPECT_EQ(cork.pieces().size(), 3u);
  EXPECT_EQ(cork.bytes(), 200 * 11 + 4 + large.size());
}

TEST(Cork, TakesFramesWithoutPayload) {
  Cork cork;
  ASSERT_TRUE(add(cork, "one", "", false));
  ASSERT_TRUE(cork.add(bytes_of("two"), {}, true));
  EXPECT_EQ(gathered(cork), "onetwo");
}

TEST(Cork, IsFullToTheByte) {
  Cork cork;
  ASSERT_TRUE(add(cork, "h", std::string(Cork::kBytes - 3, 'x'), false));
  EXPECT_FALSE(add(cork, "h", "yy", false));
  EXPECT_EQ(cork.bytes(), Cork::kBytes - 2);
  EXPECT_TRUE(add(cork, "h", "y", false));
  EXPECT_FALSE(add(cork, "h", "", false));
  EXPECT_EQ(gathered(cork), "h" + std::string(Cork::kBytes - 3, 'x') + "hy");
  cork.clear();
  EXPECT_TRUE(add(cork, "h", "y", false));
}

TEST(Cork, LargePiecesThatStayTakeNoRoomButTheirHeaders) {
  std::string large(10 * Cork::kBytes, 'l');
  Cork cork;
  EXPECT_FALSE(add(cork, "h", large, false));
  EXPECT_TRUE(add(cork, "h", large, true));
  EXPECT_EQ(cork.bytes(), large.size() + 1);
}

TEST(Cork, RefusesWhatItHasNoPieceFor) {
  std::string large(Cork::kReferFrom, 'l');
  Cork cork;
  int taken = 0;
  while (add(cork, "h", large, true)) ASSERT_LT(++taken, 1000);
  EXPECT_GT(taken, 10);
  EXPECT_EQ(cork.bytes(), size_t(taken) * (large.size() + 1));
  EXPECT_EQ(gathered(cork).size(), cork.bytes());
  cork.clear();
  EXPECT_TRUE(add(cork, "h", large, true));
}

TEST(Cork, KeepsTheOrderOfBytesForEveryMixOfCopiedAndReferred) {
  // Each bit of the mix says what one addition is.
  std::string memory(8 * Cork::kReferFrom, 0);
  for (size_t i = 0; i < memory.size(); i++) memory[i] = char(i * 31 >> 4);
  for (unsigned mix = 0; mix < 1 << 8; mix++) {
    Cork cork;
    std::string expected;
    for (unsigned i = 0; i < 8; i++) {
      bool refer = mix >> i & 1;
      std::string header(2 + i, char('A' + i));
      std::string_view payload(memory.data() + i * Cork::kReferFrom,
                               refer ? Cork::kReferFrom : 5 * i);
      ASSERT_TRUE(add(cork, header, payload, refer));
      expected += header;
      expected += payload;
    }
    ASSERT_EQ(gathered(cork), expected) << mix;
    ASSERT_EQ(cork.bytes(), expected.size()) << mix;
  }
}

TEST(Cork, LosesNothingWhenItIsEmptiedEachTimeThatItIsFull) {
  for (unsigned seed = 1; seed <= 10; seed++) {
    std::mt19937 random(seed);
    std::string memory(64 * 1024, 0), expected, out;
    for (char& c : memory) c = char(random());
    Cork cork;
    for (int i = 0; i < 1000; i++) {
      std::string header(2 + random() % 9, char(random()));
      std::string_view payload = std::string_view(memory).substr(
          random() % 30'000, random() % (random() % 3 ? 500 : 30'000));
      bool stays = random() % 2;
      if (!add(cork, header, payload, stays)) {
        out += gathered(cork);
        cork.clear();
        ASSERT_TRUE(add(cork, header, payload, stays));
      }
      expected += header;
      expected += payload;
    }
    out += gathered(cork);
    ASSERT_TRUE(out == expected) << seed;
  }
}

}  // namespace
}  // namespace mws
