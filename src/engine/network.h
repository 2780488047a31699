// Whose a connection is, where limits go by the client's address: an IPv4 address, or of IPv6 the
// network (/64) that a client has to itself.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace mws {

struct Network {
  enum Kind : uint8_t { none, v4, v6 };  // none: not known, or of no interest

  Kind kind = none;
  uint64_t bits = 0;

  bool operator==(const Network&) const = default;

  static Network of_v4(uint32_t address) { return {v4, address}; }
  // In the order of bytes in which it is sent. An IPv4 address in IPv6's clothes is IPv4.
  static Network of_v6(std::span<const uint8_t, 16> address) {
    constexpr std::array<uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool is_mapped = std::equal(mapped.begin(), mapped.end(), address.begin());
    uint64_t number = 0;
    for (uint8_t byte : is_mapped ? address.subspan(12, 4) : address.subspan(0, 8))
      number = number << 8 | byte;
    return {is_mapped ? v4 : v6, number};
  }

  // A client can choose its address, but does not know the seed.
  uint64_t hash(uint64_t seed) const { return mix(mix(bits ^ seed) + kind); }
  // One to one.
  static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
};

}  // namespace mws
