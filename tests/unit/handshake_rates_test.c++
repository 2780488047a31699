#include "src/engine/handshake_rates.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace mws::test {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

class RatesMemory {
 public:
  explicit RatesMemory(size_t buckets)
      : at_(new uint64_t[HandshakeRates::bytes_for(buckets) / 8 + 16]()) {
    void* aligned = at_.get();
    size_t space = HandshakeRates::bytes_for(buckets) + 64;
    at_aligned_ = std::align(64, HandshakeRates::bytes_for(buckets), aligned, space);
    HandshakeRates::lay_out(at_aligned_, buckets);
  }
  HandshakeRates rates() const { return HandshakeRates(at_aligned_); }

 private:
  std::unique_ptr<uint64_t[]> at_;
  void* at_aligned_;
};

TEST(HandshakeRates, ABurstThenOneForEachInterval) {
  RatesMemory memory(64);
  HandshakeRates rates = memory.rates();
  Network client = Network::of_v4(1);
  HandshakeRates::Rate rate{.per_s = 4, .burst = 3};
  uint64_t now = 100 * kSecond;
  for (int i = 0; i < 3; i++) EXPECT_EQ(rates.take(client, rate, now), 0u);
  EXPECT_EQ(rates.take(client, rate, now), kSecond / 4);
  EXPECT_EQ(rates.take(client, rate, now + kSecond / 8), kSecond / 8);
  EXPECT_EQ(rates.take(client, rate, now + kSecond / 4), 0u);
  EXPECT_EQ(rates.take(client, rate, now + kSecond / 4), kSecond / 4);
  for (int i = 0; i < 3; i++) EXPECT_EQ(rates.take(client, rate, now + 10 * kSecond), 0u);
  EXPECT_NE(rates.take(client, rate, now + 10 * kSecond), 0u);
}

TEST(HandshakeRates, TheTimeThatItNamesIsTrue) {
  RatesMemory memory(64);
  HandshakeRates rates = memory.rates();
  std::mt19937 random(7);
  uint64_t now = kSecond;
  HandshakeRates::Rate rate{.per_s = 7, .burst = 5};
  for (int i = 0; i < 2000; i++) {
    now += random() % (kSecond / 4);
    uint64_t wait = rates.take(Network::of_v4(1), rate, now);
    if (!wait) continue;
    EXPECT_NE(rates.take(Network::of_v4(1), rate, now + wait - 1), 0u);
    now += wait;
    ASSERT_EQ(rates.take(Network::of_v4(1), rate, now), 0u);
  }
}

TEST(HandshakeRates, NetworksAndRatesHaveBucketsOfTheirOwn) {
  RatesMemory memory(1024);
  HandshakeRates rates = memory.rates();
  for (uint32_t i = 0; i < 20; i++) {
    EXPECT_EQ(rates.take(Network::of_v4(i), {1, 1}, kSecond), 0u);
    EXPECT_EQ(rates.take({Network::v6, i}, {1, 1}, kSecond), 0u);
    EXPECT_EQ(rates.take(Network::of_v4(i), {2, 1}, kSecond), 0u);
    EXPECT_EQ(rates.take(Network::of_v4(i), {1, 2}, kSecond), 0u);
    EXPECT_NE(rates.take(Network::of_v4(i), {1, 1}, kSecond), 0u);
  }
}

TEST(HandshakeRates, AFullSetForgetsTheFullestBucket) {
  RatesMemory memory(8);  // one set
  HandshakeRates rates = memory.rates();
  HandshakeRates::Rate rate{.per_s = 1, .burst = 10};
  for (uint32_t client = 1; client <= 8; client++)  // the first has taken the least
    for (uint32_t i = 0; i < client + 2; i++)
      ASSERT_EQ(rates.take(Network::of_v4(client), rate, kSecond), 0u);
  for (uint32_t i = 0; i < 10; i++)
    ASSERT_EQ(rates.take(Network::of_v4(9), rate, kSecond), 0u);  // in the place of the first
  EXPECT_NE(rates.take(Network::of_v4(9), rate, kSecond), 0u);
  EXPECT_NE(rates.take(Network::of_v4(8), rate, kSecond), 0u);  // all 10 were taken
}

TEST(HandshakeRates, TheLargestNumbersDoNotOverflow) {
  RatesMemory memory(8);
  HandshakeRates rates = memory.rates();
  uint64_t now = kSecond << 20;
  EXPECT_EQ(rates.take(Network::of_v4(1), {1, 1'000'000}, now), 0u);
  EXPECT_EQ(rates.take(Network::of_v4(1), {1'000'000, 1}, now), 0u);
  EXPECT_EQ(rates.take(Network::of_v4(1), {1'000'000, 1}, now), 1000u);
}

}  // namespace
}  // namespace mws::test
