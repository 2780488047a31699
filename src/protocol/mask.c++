#include "src/protocol/mask.h"

#include <bit>
#include <cstring>

namespace mws {

namespace {
using Wide = uint8_t __attribute__((vector_size(16)));

inline void xor_wide(uint8_t* to, const uint8_t* from, Wide key) {
  Wide block;
  memcpy(&block, from, sizeof block);
  block ^= key;
  memcpy(to, &block, sizeof block);
}
}  // namespace

uint32_t unmask(uint8_t* to, const uint8_t* from, size_t size, uint32_t masking_key) {
  uint32_t four[4] = {masking_key, masking_key, masking_key, masking_key};
  Wide key;
  memcpy(&key, four, sizeof key);
  size_t i = 0;
  for (; i + 4 * sizeof key <= size; i += 4 * sizeof key)
    for (size_t j = 0; j < 4; j++)
      xor_wide(to + i + j * sizeof key, from + i + j * sizeof key, key);
  for (; i + sizeof key <= size; i += sizeof key) xor_wide(to + i, from + i, key);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(four);
  for (; i < size; i++) to[i] = from[i] ^ bytes[i & 3];

  int turned = int(size & 3) * 8;
  return std::endian::native == std::endian::little ? std::rotr(masking_key, turned)
                                                    : std::rotl(masking_key, turned);
}

}  // namespace mws
