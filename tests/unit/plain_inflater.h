// Inflating once more, plainly: one byte in, what zlib makes of it out, one byte at a time.
#pragma once
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace mws::test {

class PlainInflater {
 public:
  enum class State { good, too_big, corrupt };

  // Its window is as small as it is told: nothing further back is there.
  explicit PlainInflater(int window_bits = 15) {
    if (inflateInit2(&stream_, -window_bits) != Z_OK) abort();
  }
  ~PlainInflater() { inflateEnd(&stream_); }
  PlainInflater(const PlainInflater&) = delete;

  // The next message refers to those before it, or to none.
  void begin(bool takeover) {
    if (!takeover) inflateReset(&stream_);
    complete_ = true;
  }

  // Appends what can be told now, until out holds one byte more than the limit.
  State take(uint8_t byte, std::vector<uint8_t>& out, uint64_t limit) {
    stream_.next_in = &byte;
    stream_.avail_in = 1;
    for (;;) {
      uint8_t inflated;
      stream_.next_out = &inflated;
      stream_.avail_out = 1;
      int status = ::inflate(&stream_, Z_NO_FLUSH);
      if (!stream_.avail_out) out.push_back(inflated);
      if (out.size() > limit) return State::too_big;
      if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) return State::corrupt;
      // The number of bits left of the byte, 64 in a last block, 128 between two blocks; a call
      // with nothing to do says nothing of that.
      if (status != Z_BUF_ERROR) complete_ = status == Z_STREAM_END || stream_.data_type == 128;
      if (status == Z_STREAM_END) had_last_block_ = true, inflateResetKeep(&stream_);
      if (!stream_.avail_in && (stream_.avail_out || status == Z_STREAM_END)) return State::good;
    }
  }

  // Adds the end of the last block that the sender leaves out (RFC 7692 §7.2.2), if it did.
  State finish(std::vector<uint8_t>& out, uint64_t limit) {
    State state = State::good;
    if (complete_) return state;
    for (uint8_t byte : {0x00, 0x00, 0xff, 0xff})
      if (state == State::good) state = take(byte, out, limit);
    return state == State::good && !complete_ ? State::corrupt : state;
  }

  bool complete() const { return complete_; }  // what has come ends between two blocks and bytes
  bool had_last_block() const { return had_last_block_; }  // in any message

 private:
  z_stream stream_{};
  bool complete_ = true, had_last_block_ = false;
};

}  // namespace mws::test
