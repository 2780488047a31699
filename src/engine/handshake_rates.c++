#include "src/engine/handshake_rates.h"

#include <algorithm>
#include <bit>
#include <random>
#include <span>

#include "src/engine/shared_lock.h"

namespace mws {

constexpr size_t kWays = 8;

struct alignas(64) HandshakeRates::Header {
  size_t sets;  // a power of 2
  uint64_t seed;
  pthread_mutex_t lock;
};

// Half of it may have been written by one that died; then a client has more tokens or less.
struct HandshakeRates::Bucket {
  uint64_t key;      // 0: not in use
  uint64_t full_ns;  // when it is full again, if none is taken
};

static size_t sets_for(size_t buckets) { return std::bit_ceil((buckets + kWays - 1) / kWays); }

size_t HandshakeRates::bytes_for(size_t buckets) {
  return sizeof(Header) + sets_for(buckets) * kWays * sizeof(Bucket);
}

void HandshakeRates::lay_out(void* memory, size_t buckets) {
  auto& header = *static_cast<Header*>(memory);
  header.sets = sets_for(buckets);
  std::random_device random;
  header.seed = uint64_t(random()) << 32 | random();
  make_shared_mutex(header.lock);
}

HandshakeRates::HandshakeRates(void* memory)
    : header_(*static_cast<Header*>(memory)),
      buckets_(reinterpret_cast<Bucket*>(static_cast<uint8_t*>(memory) + sizeof(Header))) {}

uint64_t HandshakeRates::take(const Network& network, const Rate& rate, uint64_t now_ns) {
  uint64_t each_ns = 1'000'000'000 / rate.per_s;
  uint64_t which_rate = uint64_t(rate.per_s) << 32 | rate.burst;
  uint64_t key = Network::mix(network.hash(header_.seed) + which_rate);
  key += !key;
  std::span set(buckets_ + (Network::mix(key) & (header_.sets - 1)) * kWays, kWays);
  SharedLock hold(header_.lock, [] {});
  auto found = std::find_if(set.begin(), set.end(), [&](const Bucket& b) { return b.key == key; });
  if (found == set.end()) {
    found = std::min_element(set.begin(), set.end(), [](const Bucket& a, const Bucket& b) {
      return a.full_ns < b.full_ns;
    });
    *found = {key, 0};
  }
  // With the burst all used up it takes burst * each to be full.
  uint64_t full_ns = std::max(found->full_ns, now_ns);
  uint64_t latest_ns = now_ns + (rate.burst - 1) * each_ns;
  if (full_ns > latest_ns) return full_ns - latest_ns;
  found->full_ns = full_ns + each_ns;
  return 0;
}

}  // namespace mws
