#include "src/engine/send_queue.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace mws {
namespace {

std::string front_of(SendQueue& queue) {
  std::string all;
  for (const iovec& piece : queue.front())
    all.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  return all;
}

std::string pattern(size_t size, unsigned from) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; i++) text[i] = char((from + i) * 131 >> 3);
  return text;
}

TEST(SendQueue, IsEmptyAtFirst) {
  SendQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(queue.front().empty());
}

TEST(SendQueue, KeepsACopyOfWhatIsAppended) {
  SendQueue queue;
  std::string bytes = "hello";
  queue.append(bytes_of(bytes));
  bytes = "#####";
  EXPECT_EQ(front_of(queue), "hello");
}

TEST(SendQueue, PutsSmallPiecesTogether) {
  SendQueue queue;
  for (int i = 0; i < 1000; i++) queue.append(bytes_of("0123456789"));
  EXPECT_EQ(queue.front().size(), 1u);
  EXPECT_EQ(front_of(queue).size(), 10'000u);
}

TEST(SendQueue, OffersNoEmptyPiece) {
  SendQueue queue;
  queue.append({});
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.front().empty());
  queue.append(bytes_of(std::string(100'000, 'x')));
  queue.append({});
  queue.pop(99'999);
  ASSERT_EQ(queue.front().size(), 1u);
  EXPECT_EQ(queue.front()[0].iov_len, 1u);
  queue.pop(1);
  EXPECT_TRUE(queue.front().empty());
}

TEST(SendQueue, GivesBackWhatWasAppendedInOrderHoweverItIsPopped) {
  for (unsigned seed = 1; seed <= 20; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    SendQueue queue;
    std::string model;
    for (int step = 0; step < 400; step++) {
      size_t size = random() % (random() % 8 ? 3000 : 60'000);
      if (random() % 5 < 3) {
        std::string bytes = pattern(size, random());
        queue.append(bytes_of(bytes));
        model += bytes;
      } else {
        size = std::min(size * 3, front_of(queue).size());  // no more can have been written
        queue.pop(size);
        model.erase(0, size);
      }
      ASSERT_EQ(queue.size(), model.size());
      ASSERT_EQ(queue.empty(), model.empty());
      std::string front = front_of(queue);
      ASSERT_EQ(front.empty(), model.empty());
      ASSERT_TRUE(model.starts_with(front));
    }
  }
}

}  // namespace
}  // namespace mws
