// How many opening handshakes a client makes: a token bucket for each network and rate, in memory
// that processes share. Any thread, but not in a signal handler that may have interrupted a call.
#pragma once
#include <cstddef>
#include <cstdint>

#include "src/engine/network.h"

namespace mws {

class HandshakeRates {
 public:
  struct Rate {
    uint32_t per_s;  // at least 1
    uint32_t burst;  // how many may come at once; at least 1
  };
  // For so many buckets, in sets of 8. Where a set is full, a new one takes the place of the
  // fullest, whose client loses the least by being forgotten.
  static size_t bytes_for(size_t buckets);
  // In memory that holds zeroes, once.
  static void lay_out(void* memory, size_t buckets);

  explicit HandshakeRates(void* memory);

  // Takes a token and returns 0; or, where there is none, the time until there is one again.
  uint64_t take(const Network& network, const Rate& rate, uint64_t now_ns);

 private:
  struct Header;
  struct Bucket;

  Header& header_;
  Bucket* buckets_;
};

}  // namespace mws
