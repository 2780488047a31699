#include "src/protocol/mask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace mws {
namespace {

const uint8_t kKeyBytes[4] = {0x12, 0x80, 0xff, 0x01};

uint32_t key_of(const uint8_t* bytes) {
  uint32_t key;
  memcpy(&key, bytes, 4);
  return key;
}

// The key as it stands after size bytes.
uint32_t turned_key(size_t size) {
  uint8_t bytes[4];
  for (size_t i = 0; i < 4; i++) bytes[i] = kKeyBytes[(size + i) % 4];
  return key_of(bytes);
}

// A memory of size bytes at an offset from an aligned address, with guards on both sides.
class Guarded {
 public:
  Guarded(size_t offset, size_t size)
      : memory_(kGuard + offset + size + 2 * kGuard, 0xee), size_(size) {
    offset_ = (-uintptr_t(memory_.data()) & (kGuard - 1)) + offset;
    for (size_t i = 0; i < size; i++) begin()[i] = uint8_t(i * 7 + 3);
  }
  uint8_t* begin() { return memory_.data() + kGuard + offset_; }
  bool guards_untouched() {
    for (size_t i = 0; i < memory_.size(); i++)
      if ((i < kGuard + offset_ || i >= kGuard + offset_ + size_) && memory_[i] != 0xee)
        return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 64;
  std::vector<uint8_t> memory_;
  size_t offset_, size_;
};

std::vector<uint8_t> naively(const uint8_t* from, size_t size) {
  std::vector<uint8_t> out(from, from + size);
  for (size_t i = 0; i < size; i++) out[i] ^= kKeyBytes[i % 4];
  return out;
}

// What unmask() chooses by size, and each way on its own.
std::vector<UnmaskWay> all_ways() {
  std::vector<UnmaskWay> ways{{"chosen", unmask}};
  ways.insert(ways.end(), unmask_ways().begin(), unmask_ways().end());
  return ways;
}

class MaskWay : public testing::TestWithParam<UnmaskWay> {
 protected:
  uint32_t run(uint8_t* to, const uint8_t* from, size_t size) {
    return GetParam().run(to, from, size, key_of(kKeyBytes));
  }
};
INSTANTIATE_TEST_SUITE_P(, MaskWay, testing::ValuesIn(all_ways()),
                         [](const auto& way) { return way.param.name; });

// Where a size has to be cut into blocks in all ways: a page or so, and each tail of a block.
constexpr size_t kSmall = 300, kLarge[] = {400, 4096, 9000}, kTails = 130;

TEST(Mask, ThePortableWayComesFirst) {
  ASSERT_FALSE(unmask_ways().empty());
  EXPECT_STREQ(unmask_ways()[0].name, "portable");
}

TEST_P(MaskWay, InPlaceIsTheNaiveLoopForAllTailsOfLongPayloads) {
  for (size_t least : kLarge)
    for (size_t size = least; size < least + kTails; size++) {
      Guarded memory(size * 5 % 64, size);
      auto expected = naively(memory.begin(), size);
      uint32_t key = run(memory.begin(), memory.begin(), size);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), memory.begin())) << size;
      ASSERT_EQ(key, turned_key(size)) << size;
      ASSERT_TRUE(memory.guards_untouched()) << size;
    }
}

TEST_P(MaskWay, CopyingIsTheNaiveLoopForAllAlignmentsOfBothSidesOfLongPayloads) {
  constexpr size_t size = 700;
  for (size_t of_from = 0; of_from < 64; of_from++)
    for (size_t of_to = 0; of_to < 64; of_to++) {
      Guarded from(of_from, size), to(of_to, size);
      auto expected = naively(from.begin(), size);
      uint32_t key = run(to.begin(), from.begin(), size);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), to.begin()))
          << of_from << " to " << of_to;
      ASSERT_EQ(key, turned_key(size));
      ASSERT_TRUE(to.guards_untouched() && from.guards_untouched()) << of_from << " to " << of_to;
    }
}

TEST_P(MaskWay, InPlaceIsTheNaiveLoopForAllSizesAndAlignments) {
  for (size_t size = 0; size <= kSmall; size++)
    for (size_t offset = 0; offset < 64; offset++) {
      Guarded memory(offset, size);
      auto expected = naively(memory.begin(), size);
      uint32_t key = run(memory.begin(), memory.begin(), size);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), memory.begin()))
          << size << " at " << offset;
      ASSERT_EQ(key, turned_key(size)) << size;
      ASSERT_TRUE(memory.guards_untouched()) << size << " at " << offset;
    }
}

TEST_P(MaskWay, CopyingIsTheNaiveLoopForAllSizesAndAlignmentsOfBothSides) {
  for (size_t size = 0; size <= kSmall; size++)
    for (size_t offset = 0; offset < 64; offset++) {
      Guarded from(offset, size), to((offset * 5 + size) % 64, size);
      auto source = std::vector<uint8_t>(from.begin(), from.begin() + size);
      auto expected = naively(from.begin(), size);
      uint32_t key = run(to.begin(), from.begin(), size);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), to.begin()))
          << size << " at " << offset;
      ASSERT_TRUE(std::equal(source.begin(), source.end(), from.begin())) << "the source changed";
      ASSERT_EQ(key, turned_key(size)) << size;
      ASSERT_TRUE(to.guards_untouched() && from.guards_untouched()) << size << " at " << offset;
    }
}

TEST_P(MaskWay, ReturnsAKeyThatGoesOnWhereTheLastByteEnded) {
  constexpr size_t size = 1200;
  for (size_t first = 0; first <= size; first++) {
    Guarded memory(0, size);
    auto expected = naively(memory.begin(), size);
    uint32_t key = run(memory.begin(), memory.begin(), first);
    key = GetParam().run(memory.begin() + first, memory.begin() + first, size - first, key);
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), memory.begin())) << "cut at " << first;
    ASSERT_EQ(key, turned_key(size));
  }
}

TEST(Mask, ByteByByteIsTheSameAsWhole) {
  constexpr size_t size = 100;
  Guarded memory(0, size);
  auto expected = naively(memory.begin(), size);
  uint32_t key = key_of(kKeyBytes);
  for (size_t i = 0; i < size; i++) key = unmask(memory.begin() + i, memory.begin() + i, 1, key);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), memory.begin()));
}

TEST(Mask, TwiceGivesTheOriginalBack) {
  constexpr size_t size = 300;
  Guarded memory(3, size);
  auto original = std::vector<uint8_t>(memory.begin(), memory.begin() + size);
  unmask(memory.begin(), memory.begin(), size, key_of(kKeyBytes));
  unmask(memory.begin(), memory.begin(), size, key_of(kKeyBytes));
  EXPECT_TRUE(std::equal(original.begin(), original.end(), memory.begin()));
}

TEST(Mask, OfZerosLeavesEverythingAsItIs) {
  Guarded memory(1, 150), same(1, 150);
  EXPECT_EQ(unmask(memory.begin(), memory.begin(), 150, 0), 0u);
  EXPECT_EQ(memcmp(memory.begin(), same.begin(), 150), 0);
}

}  // namespace
}  // namespace mws
