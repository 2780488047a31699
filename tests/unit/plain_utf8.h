// The plain decoder that the UTF-8 validator is compared with. It knows code points and nothing of
// the validator's table: the bytes at hand leave a range of code points, and they are the start of
// a character if one in that range is allowed for the character's length.
#pragma once
#include <algorithm>

#include "src/base/bytes.h"

namespace mws::test {

struct Verdict {
  size_t viable;  // how many bytes from the front can be the start of valid text
  bool complete;  // all are viable and end between two characters
  bool operator==(const Verdict&) const = default;
};

inline bool allowed_within(uint32_t low, uint32_t high, size_t length) {
  constexpr uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
  constexpr uint32_t kHighest[] = {0, 0x7f, 0x7ff, 0xffff, 0x10ffff};
  low = std::max(low, kLowest[length]);
  high = std::min(high, kHighest[length]);
  return low <= high && !(low >= 0xd800 && high <= 0xdfff);
}

inline Verdict decode(Bytes text) {
  for (size_t i = 0; i < text.size();) {
    uint8_t first = text[i];
    size_t length = first < 0x80             ? 1
                    : (first & 0xe0) == 0xc0 ? 2
                    : (first & 0xf0) == 0xe0 ? 3
                    : (first & 0xf8) == 0xf0 ? 4
                                             : 0;
    if (!length) return {i, false};
    uint32_t value = length == 1 ? first : first & (0x7fu >> length);
    for (size_t have = 1;; have++) {
      size_t missing = 6 * (length - have);
      uint32_t low = value << missing, high = low | ((1u << missing) - 1);
      if (!allowed_within(low, high, length)) return {i + have - 1, false};
      if (have == length) break;
      if (i + have == text.size()) return {text.size(), false};
      if ((text[i + have] & 0xc0) != 0x80) return {i + have, false};
      value = value << 6 | (text[i + have] & 0x3f);
    }
    i += length;
  }
  return {text.size(), true};
}

}  // namespace mws::test
