#include "src/protocol/utf8.h"

#include <array>
#include <cstring>

namespace mws {

namespace {

// States of the validator: what the next byte must be. The order is that of kNext.
enum State : uint8_t {
  start,       // the first byte of a character
  one_more,    // one continuation byte, 80..BF
  two_more,    // two of them
  three_more,  // three of them
  after_e0,    // A0..BF, then one: no overlong form
  after_ed,    // 80..9F, then one: no surrogate
  after_f0,    // 90..BF, then two: no overlong form
  after_f4,    // 80..8F, then two: nothing above U+10FFFF
  invalid,
  state_count,
};

constexpr State after_first_byte(unsigned byte) {
  if (byte < 0x80) return start;
  if (byte < 0xc2) return invalid;  // a continuation byte, or an overlong form of two bytes
  if (byte < 0xe0) return one_more;
  if (byte == 0xe0) return after_e0;
  if (byte == 0xed) return after_ed;
  if (byte < 0xf0) return two_more;
  if (byte == 0xf0) return after_f0;
  if (byte < 0xf4) return three_more;
  return byte == 0xf4 ? after_f4 : invalid;
}

constexpr State after_continuation(State state, unsigned byte) {
  auto within = [&](unsigned low, unsigned high, State next) {
    return byte >= low && byte <= high ? next : invalid;
  };
  switch (state) {
    case one_more: return within(0x80, 0xbf, start);
    case two_more: return within(0x80, 0xbf, one_more);
    case three_more: return within(0x80, 0xbf, two_more);
    case after_e0: return within(0xa0, 0xbf, one_more);
    case after_ed: return within(0x80, 0x9f, one_more);
    case after_f0: return within(0x90, 0xbf, two_more);
    case after_f4: return within(0x80, 0x8f, two_more);
    default: return invalid;
  }
}

constexpr auto kNext = [] {
  std::array<std::array<uint8_t, 256>, state_count> table{};
  for (unsigned byte = 0; byte < 256; byte++) {
    table[start][byte] = after_first_byte(byte);
    for (unsigned state = one_more; state < state_count; state++)
      table[state][byte] = after_continuation(State(state), byte);
  }
  return table;
}();

// The length of the run of ASCII at the front of bytes, rounded down to a multiple of 32.
size_t ascii_blocks(const uint8_t* bytes, size_t size) {
  size_t done = 0;
  for (; done + 32 <= size; done += 32) {
    uint64_t words[4];
    memcpy(words, bytes + done, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u) break;
  }
  return done;
}

}  // namespace

bool Utf8Validator::feed(Bytes piece) {
  const uint8_t* at = piece.data();
  const uint8_t* end = at + piece.size();
  uint8_t state = state_;
  while (at < end) {
    if (state == start) {
      at += ascii_blocks(at, size_t(end - at));
      if (at == end) break;
    }
    // One block byte by byte, then look for ASCII again.
    const uint8_t* stop = end - at < 32 ? end : at + 32;
    while (at < stop) state = kNext[state][*at++];
    if (state == invalid) break;
  }
  state_ = state;
  return state != invalid;
}

}  // namespace mws
