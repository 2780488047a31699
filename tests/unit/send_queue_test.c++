#include "src/engine/send_queue.h"

#include <gtest/gtest.h>

#include <memory>
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

TEST(SendQueue, RefersToBytesThatHaveAnOwner) {
  SendQueue queue;
  auto owner = std::make_shared<std::string>(pattern(SendQueue::kReferredFrom, 1));
  queue.append(bytes_of("before"));
  queue.append(bytes_of(*owner), owner);
  queue.append(bytes_of("behind"));
  EXPECT_EQ(queue.size(), 12 + owner->size());
  ASSERT_EQ(queue.front().size(), 3u);
  EXPECT_EQ(queue.front()[1].iov_base, owner->data());
  EXPECT_EQ(front_of(queue), "before" + *owner + "behind");
}

TEST(SendQueue, CopiesShortBytesThoughTheyHaveAnOwner) {
  SendQueue queue;
  auto owner = std::make_shared<std::string>(SendQueue::kReferredFrom - 1, 'x');
  queue.append(bytes_of("before"));
  queue.append(bytes_of(*owner), owner);
  EXPECT_EQ(owner.use_count(), 1);
  EXPECT_EQ(queue.front().size(), 1u);
  std::string large(100'000, 'x');
  queue.append(bytes_of(large), nullptr);
  large.assign(large.size(), '#');
  EXPECT_EQ(front_of(queue).find('#'), std::string::npos);
}

TEST(SendQueue, KeepsAnOwnerUntilItsLastByteIsPopped) {
  for (bool at_once : {true, false}) {
    SendQueue queue;
    auto one = std::make_shared<std::string>(5000, '1'),
         two = std::make_shared<std::string>(5000, '2');
    queue.append(bytes_of("ab"));
    queue.append(bytes_of(*one), one);
    queue.append(bytes_of(*one).first(3000), one);
    queue.append(bytes_of("cd"));
    queue.append(bytes_of(*two), two);
    EXPECT_EQ(one.use_count(), 3);
    if (at_once) {
      queue.pop(2 + 8000 + 2 + 1);
    } else {
      queue.pop(1);
      queue.pop(1 + 4999);
      EXPECT_EQ(one.use_count(), 3);
      queue.pop(1);
      EXPECT_EQ(one.use_count(), 2);
      queue.pop(2999);
      EXPECT_EQ(one.use_count(), 2);
      queue.pop(1 + 1);
      EXPECT_EQ(one.use_count(), 1);
      queue.pop(1 + 1);
    }
    EXPECT_EQ(one.use_count(), 1);
    EXPECT_EQ(two.use_count(), 2);
    EXPECT_EQ(front_of(queue), std::string(4999, '2'));
    queue.pop(4999);
    EXPECT_EQ(two.use_count(), 1);
    EXPECT_TRUE(queue.empty());
  }
}

TEST(SendQueue, ReleasesOwnersWithItself) {
  auto owner = std::make_shared<std::string>(5000, 'x');
  {
    SendQueue queue;
    queue.append(bytes_of(*owner), owner);
    queue.pop(10);
  }
  EXPECT_EQ(owner.use_count(), 1);
}

TEST(SendQueue, GivesBackWhatWasAppendedInOrderHoweverItIsPopped) {
  for (unsigned seed = 1; seed <= 40; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    bool owned = seed % 2;
    SendQueue queue;
    std::string model;
    for (int step = 0; step < 400; step++) {
      size_t size = random() % (random() % 8 ? 3000 : 60'000);
      if (random() % 5 < 3) {
        std::string bytes = pattern(size, random());
        model += bytes;
        if (owned && random() % 2) {
          auto owner = std::make_shared<std::string>(std::move(bytes));
          queue.append(bytes_of(*owner), owner);
        } else {
          queue.append(bytes_of(bytes));
        }
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
