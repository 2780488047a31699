// A client's side of permessage-deflate, on zlib's own functions.
#pragma once
#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/plain_inflater.h"

namespace mws::test {

// Deflates messages, each without the end of its flush (RFC 7692 §7.2.1).
class PlainDeflater {
 public:
  explicit PlainDeflater(int level = 6, int window_bits = 15, int strategy = Z_DEFAULT_STRATEGY) {
    EXPECT_EQ(deflateInit2(&stream_, level, Z_DEFLATED, -window_bits, 8, strategy), Z_OK);
  }
  ~PlainDeflater() { deflateEnd(&stream_); }
  PlainDeflater(const PlainDeflater&) = delete;

  std::string deflate(std::string_view message, int flush = Z_SYNC_FLUSH) {
    std::string out(message.size() * 2 + 1000, 0);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(message.data()));
    stream_.avail_in = uInt(message.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = uInt(out.size());
    ::deflate(&stream_, flush);
    out.resize(out.size() - stream_.avail_out);
    if (flush != Z_SYNC_FLUSH) return out;
    EXPECT_TRUE(out.ends_with(std::string_view("\0\0\xff\xff", 4)));
    out.resize(out.size() - 4);
    return out;
  }

 private:
  z_stream stream_{};
};

inline std::string deflated(std::string_view message, int level = 6) {
  return PlainDeflater(level).deflate(message);
}

// What a payload from the server inflates to, for a client that adds the end of the flush to every
// message (RFC 7692 §7.2.2). "corrupt" where it is, or has a last block, which some clients take
// for the end of all messages.
inline std::string inflated(PlainInflater& client, std::string_view payload) {
  std::vector<uint8_t> out;
  auto state = PlainInflater::State::good;
  client.begin(true);
  std::string whole = std::string(payload).append("\0\0\xff\xff", 4);
  for (char byte : whole)
    if (state == PlainInflater::State::good) state = client.take(uint8_t(byte), out, UINT32_MAX);
  bool good = state == PlainInflater::State::good && client.complete() && !client.had_last_block();
  return good ? std::string(out.begin(), out.end()) : "corrupt";
}

// A JSON text of about so many bytes.
inline std::string json(size_t size, unsigned seed = 1) {
  std::string out = "{\"items\":[";
  for (unsigned i = seed; out.size() + 70 < size; i = i * 1664525 + 1013904223)
    out += "{\"id\":" + std::to_string(i >> 12) + ",\"name\":\"" +
           (i & 1024 ? "caf\u00e9 " : "r\u00f6sti ") + std::to_string(i >> 28) +
           "\",\"open\":" + (i & 2048 ? "true" : "false") + "},";
  return out + "{}]}";
}

// Bytes that do not get smaller.
inline std::string noise(size_t size, unsigned seed = 1) {
  std::string out(size, 0);
  for (uint64_t i = 0, state = seed; i < size; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    out[i] = char(state >> 56);
  }
  return out;
}

}  // namespace mws::test
