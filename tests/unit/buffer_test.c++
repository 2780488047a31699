#include "src/protocol/buffer.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstring>
#include <set>

#include "tests/unit/protocol_support.h"

// An allocation that cannot succeed returns null under the address sanitizer too.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

namespace mws {
namespace {

size_t reserved(Buffer& buffer) { return malloc_usable_size(buffer.bytes().data()); }

constexpr size_t kRounding = 8192;  // what an allocator may add for its own ends

void append(Buffer& buffer, std::string_view text, uint64_t expected) {
  memcpy(buffer.grow(text.size(), expected), text.data(), text.size());
}

TEST(Buffer, IsEmptyAndHoldsNoMemoryAtFirst) {
  Buffer buffer;
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_TRUE(buffer.bytes().empty());
  EXPECT_EQ(buffer.bytes().data(), nullptr);
}

TEST(Buffer, KeepsWhatItHeldWhenItGrows) {
  Buffer buffer;
  std::string expected;
  for (int i = 0; i < 3000; i++) {
    std::string piece(size_t(i % 40), char('a' + i % 26));
    if (piece.empty()) continue;
    append(buffer, piece, 1 << 20);
    expected += piece;
  }
  EXPECT_EQ(buffer.size(), expected.size());
  EXPECT_EQ(text_of(buffer.bytes()), expected);
}

TEST(Buffer, GrowsEvenIfLessWasExpected) {
  Buffer buffer;
  append(buffer, "hello", 2);
  append(buffer, " world", 0);
  EXPECT_EQ(text_of(buffer.bytes()), "hello world");
}

TEST(Buffer, ReservesNoMoreThanExpected) {
  Buffer buffer;
  append(buffer, std::string(1000, 'x'), 1000);
  EXPECT_LT(reserved(buffer), 1000 + 64u);
  append(buffer, std::string(500000, 'x'), 501000);
  EXPECT_LE(reserved(buffer), 501000 + kRounding);
}

TEST(Buffer, ReservesByWhatHasArrivedAndNotByWhatIsAnnounced) {
  Buffer buffer;
  append(buffer, "x", uint64_t(1) << 62);
  EXPECT_LE(reserved(buffer), kRounding);
  append(buffer, std::string(100000, 'x'), uint64_t(1) << 62);
  EXPECT_LE(reserved(buffer), 2 * 100001 + kRounding);
}

TEST(Buffer, MovesRarelyHoweverSmallThePieces) {
  Buffer buffer;
  std::set<size_t> sizes;
  for (int i = 0; i < 1 << 18; i++) {
    append(buffer, "x", 1 << 20);
    sizes.insert(reserved(buffer));
  }
  EXPECT_LE(sizes.size(), 10u);
}

TEST(Buffer, GivesItsBytesAwayWhenMovedFrom) {
  Buffer from;
  append(from, "hello", 5);
  Buffer to = std::move(from);
  EXPECT_EQ(text_of(to.bytes()), "hello");
  EXPECT_EQ(from.size(), 0u);
  append(from, "again", 5);
  EXPECT_EQ(text_of(from.bytes()), "again");
  EXPECT_EQ(text_of(to.bytes()), "hello");
  to = std::move(from);
  EXPECT_EQ(text_of(to.bytes()), "again");
}

TEST(Buffer, KeepsItsBytesWhenThereIsNoMemoryForMore) {
  Buffer buffer;
  append(buffer, "hello", 5);
  size_t volatile impossible = SIZE_MAX / 4;
  EXPECT_THROW(buffer.grow(impossible, impossible), std::bad_alloc);
  EXPECT_EQ(text_of(buffer.bytes()), "hello");
  append(buffer, "!", 6);
  EXPECT_EQ(text_of(buffer.bytes()), "hello!");
}

}  // namespace
}  // namespace mws
