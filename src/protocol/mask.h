// Masking, RFC 6455 §5.3.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace mws {

// Writes size bytes of from, each XORed with its byte of the key, to to. Both may be the same
// memory; they must not overlap otherwise. The key is in memory order, its first byte is that of
// from[0]. Returns the key turned so that it fits the byte after the last.
uint32_t unmask(uint8_t* to, const uint8_t* from, size_t size, uint32_t masking_key);

// The ways to do it that this CPU has, for tests: the portable one first, that which unmask()
// takes for long payloads last.
struct UnmaskWay {
  const char* name;
  decltype(&unmask) run;
};
std::span<const UnmaskWay> unmask_ways();

}  // namespace mws
