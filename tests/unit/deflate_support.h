// A client's side of permessage-deflate, on zlib's own functions.
#pragma once
#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <string_view>

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

// Inflates messages; what they refer back to may lie in those before. Its window is as small as it
// was told: it writes byte by byte, so that nothing further back is there.
class PlainInflater {
 public:
  explicit PlainInflater(int window_bits = 15) {
    EXPECT_EQ(inflateInit2(&stream_, -window_bits), Z_OK);
  }
  ~PlainInflater() { inflateEnd(&stream_); }
  PlainInflater(const PlainInflater&) = delete;

  // "corrupt" where it is.
  std::string inflate(std::string payload) {
    payload.append("\0\0\xff\xff", 4);
    stream_.next_in = reinterpret_cast<Bytef*>(payload.data());
    stream_.avail_in = uInt(payload.size());
    std::string out;
    for (;;) {
      char byte;
      stream_.next_out = reinterpret_cast<Bytef*>(&byte);
      stream_.avail_out = 1;
      int status = ::inflate(&stream_, Z_SYNC_FLUSH);
      if (!stream_.avail_out) out += byte;
      if (status == Z_DATA_ERROR || status == Z_STREAM_END) return "corrupt";
      if (!stream_.avail_in && stream_.avail_out) return out;
    }
  }

 private:
  z_stream stream_{};
};

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
