#include "src/protocol/utf8.h"

#include <array>
#include <cstring>

#ifdef WEBSOCKET_SIMDJSON
#include <simdjson.h>
#endif

namespace mws {

namespace {

// States of the validator: what the next byte must be.
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

// For each byte all transitions in one word: that of a state begins at bit kBits * state and is
// again such a position. So a byte costs a shift after the byte before it, and no look-up.
constexpr unsigned kBits = 6;
static_assert(state_count * kBits <= 64 && state_count * kBits <= 1 << kBits);
constexpr unsigned position(State state) { return kBits * state; }

constexpr auto kRows = [] {
  std::array<uint64_t, 256> rows{};
  for (unsigned byte = 0; byte < 256; byte++) {
    rows[byte] = position(after_first_byte(byte));
    for (unsigned state = one_more; state < state_count; state++)
      rows[byte] |= uint64_t(position(after_continuation(State(state), byte)))
                    << position(State(state));
  }
  return rows;
}();

constexpr uint64_t kPosition = (1 << kBits) - 1;

// The state after all bytes from at to end.
inline uint8_t after_bytes(uint64_t state, const uint8_t* at, const uint8_t* end) {
  while (at < end) state = kRows[*at++] >> (state & kPosition);
  return state & kPosition;
}

using Wide = uint64_t __attribute__((vector_size(16)));
inline Wide wide_at(const uint8_t* at) {
  Wide wide;
  memcpy(&wide, at, sizeof wide);
  return wide;
}
inline bool is_ascii(Wide wide) { return !((wide[0] | wide[1]) & 0x8080808080808080u); }

// A length within the run of ASCII at the front of bytes: the run to less than 16 bytes, or all.
// Of fewer than 16 bytes it says nothing, 0.
inline size_t ascii_run(const uint8_t* bytes, size_t size) {
  if (size < 16) return 0;
  size_t done = 0;
  for (; size - done >= 64; done += 64) {
    const uint8_t* at = bytes + done;
    if (!is_ascii((wide_at(at) | wide_at(at + 16)) | (wide_at(at + 32) | wide_at(at + 48)))) break;
  }
  for (; size - done > 16; done += 16)
    if (!is_ascii(wide_at(bytes + done))) return done;
  // The last block may overlap the one before it.
  return is_ascii(wide_at(bytes + size - 16)) ? size : done;
}

}  // namespace

// Below this the library's call costs as much as it saves.
constexpr size_t kLibraryFrom = 48;

bool Utf8Validator::feed_plainly(Bytes piece) {
  const uint8_t* at = piece.data();
  const uint8_t* end = at + piece.size();
  while (at < end && state_ != position(invalid)) {
    if (state_ == position(start)) at += ascii_run(at, size_t(end - at));
    // One block byte by byte, then look for ASCII again.
    const uint8_t* stop = end - at < 32 ? end : at + 32;
    state_ = after_bytes(state_, at, stop);
    at = stop;
  }
  return state_ != position(invalid);
}

#ifdef WEBSOCKET_SIMDJSON
namespace {

// The library allocates on its first use, and ends the process where there is no memory: so that is
// not left to a message.
[[maybe_unused]] const bool library_is_ready = simdjson::validate_utf8("", 0);

// How many bytes at the end begin a character and do not end it.
size_t unfinished(Bytes text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); back++) {
    uint8_t byte = text[text.size() - back];
    if ((byte & 0xc0) == 0x80) continue;
    size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

// The library takes whole characters: what an earlier piece began, and what the next one ends, is
// left to the validator's own states.
bool Utf8Validator::feed_text(Bytes piece) {
  size_t done = 0;
  for (; state_ != position(start); done++)
    if (!feed_plainly(piece.subspan(done, 1))) return false;
  Bytes rest = piece.subspan(done);
  size_t whole = rest.size() - unfinished(rest);
  if (!simdjson::validate_utf8(reinterpret_cast<const char*>(rest.data()), whole)) {
    state_ = position(invalid);
    return false;
  }
  return feed_plainly(rest.subspan(whole));
}
#else
bool Utf8Validator::feed_text(Bytes piece) { return feed_plainly(piece); }
#endif

// ASCII, the usual text, needs no library.
bool Utf8Validator::feed(Bytes piece) {
  size_t ascii = 0;
  if (state_ == position(start)) {
    ascii = ascii_run(piece.data(), piece.size());
    if (ascii == piece.size()) return true;
  }
  if (piece.size() - ascii >= kLibraryFrom) return feed_text(piece.subspan(ascii));
  state_ = after_bytes(state_, piece.data() + ascii, piece.data() + piece.size());
  return state_ != position(invalid);
}

}  // namespace mws
