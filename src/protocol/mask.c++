#include "src/protocol/mask.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#define WEBSOCKET_AVX2
#include <immintrin.h>
#endif

namespace mws {

namespace {

// Shorter payloads gain nothing from wider vectors.
constexpr size_t kLong = 512;

using Wide = uint32_t __attribute__((vector_size(16)));

// One block that is as long as the key.
template <typename Block>
inline void xor_block(uint8_t* to, const uint8_t* from, Block key) {
  Block block;
  memcpy(&block, from, sizeof block);
  block ^= key;
  memcpy(to, &block, sizeof block);
}

uint32_t turned(uint32_t masking_key, size_t size) {
  int bits = int(size & 3) * 8;
  return std::endian::native == std::endian::little ? std::rotr(masking_key, bits)
                                                    : std::rotl(masking_key, bits);
}

[[gnu::always_inline]] inline uint32_t unmask_portably(uint8_t* to, const uint8_t* from,
                                                       size_t size, uint32_t masking_key) {
  const Wide wide{masking_key, masking_key, masking_key, masking_key};
  size_t i = 0;
  for (; i + 64 <= size; i += 64) {
    xor_block(to + i, from + i, wide);
    xor_block(to + i + 16, from + i + 16, wide);
    xor_block(to + i + 32, from + i + 32, wide);
    xor_block(to + i + 48, from + i + 48, wide);
  }
  for (; i + 16 <= size; i += 16) xor_block(to + i, from + i, wide);
  if (i == size) return masking_key;
  for (; i + 4 <= size; i += 4) xor_block(to + i, from + i, masking_key);
  uint8_t key[4];
  memcpy(key, &masking_key, 4);
  for (size_t j = 0; i < size; i++, j++) to[i] = from[i] ^ key[j];
  return turned(masking_key, size);
}

#ifdef WEBSOCKET_AVX2
__attribute__((target("avx2"))) inline void xor_avx2(uint8_t* to, const uint8_t* from,
                                                     __m256i key) {
  __m256i block = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_xor_si256(block, key));
}

// What is written is aligned, so that no write touches two cache lines.
__attribute__((target("avx2"))) uint32_t unmask_avx2(uint8_t* to, const uint8_t* from, size_t size,
                                                     uint32_t masking_key) {
  size_t i = std::min<size_t>(size, -uintptr_t(to) & 31);
  masking_key = unmask_portably(to, from, i, masking_key);
  __m256i key = _mm256_set1_epi32(int(masking_key));
  for (; size - i >= 128; i += 128) {
    xor_avx2(to + i, from + i, key);
    xor_avx2(to + i + 32, from + i + 32, key);
    xor_avx2(to + i + 64, from + i + 64, key);
    xor_avx2(to + i + 96, from + i + 96, key);
  }
  return unmask_portably(to + i, from + i, size - i, masking_key);
}
#endif

constexpr UnmaskWay kWays[] = {
    {"portable", unmask_portably},
#ifdef WEBSOCKET_AVX2
    {"avx2", unmask_avx2},
#endif
};

}  // namespace

std::span<const UnmaskWay> unmask_ways() {
#ifdef WEBSOCKET_AVX2
  if (!__builtin_cpu_supports("avx2")) return std::span(kWays).first(1);
#endif
  return kWays;
}

namespace {
// A function of its own, so that short payloads do not pay for its frame.
[[gnu::noinline]] uint32_t unmask_long(uint8_t* to, const uint8_t* from, size_t size,
                                       uint32_t masking_key) {
  static const auto run = unmask_ways().back().run;
  return run(to, from, size, masking_key);
}
}  // namespace

uint32_t unmask(uint8_t* to, const uint8_t* from, size_t size, uint32_t masking_key) {
  if (size >= kLong) return unmask_long(to, from, size, masking_key);
  return unmask_portably(to, from, size, masking_key);
}

}  // namespace mws
