// Inflating and deflating messages, RFC 7692 §7.2. One thread at a time.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/bytes.h"
#include "src/base/counters.h"
#include "src/protocol/buffer.h"

namespace mws {

inline constexpr int kMaxWindowBits = 15;

// Inflates messages, one after the other. What a message refers to may lie in those before it
// until reset() is called.
class Inflater {
 public:
  enum class Result { good, too_big, corrupt };

  // Messages refer back at most 2^window_bits bytes, 8 to 15. Throws std::bad_alloc.
  explicit Inflater(int window_bits);
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Appends to out what a piece of a message's payload inflates to, until out holds more than
  // limit: by at most one byte. After a result that is not good only reset() may follow. Throws
  // std::bad_alloc.
  Result inflate(Bytes piece, Buffer& out, uint64_t limit);
  // The message is complete: whether its payload was, too. Blocks of any type may be in it, a last
  // one anywhere (§7.2.3.4). The empty block whose end the sender has left out (§7.2.1) may be
  // there; a payload without a byte is an empty message.
  Result finish(Buffer& out, uint64_t limit);
  void reset();  // before a message that refers to none before it

  size_t memory_bytes() const;  // that it holds when a window is in use

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  bool between_blocks_ = true;
};

// Deflates messages, one after the other.
class Deflater {
 public:
  // Level is 1 to 9. Messages refer back at most 2^window_bits bytes, 8 to 15, with takeover into
  // the messages before too. Throws std::bad_alloc.
  static std::unique_ptr<Deflater> make(int level, int window_bits, bool takeover);
  virtual ~Deflater() = default;

  // Appends a message's payload to out (§7.2.1). Throws std::bad_alloc.
  virtual void deflate(Bytes message, Buffer& out) = 0;
  virtual size_t memory_bytes() const = 0;
};

// What the sessions of one thread share, so that none needs memory of its own unless its messages
// refer to earlier ones. Made as it is needed.
class DeflateShare {
 public:
  // Ready for a message that refers to none before it.
  Inflater& inflater();
  // The same to be kept until its message has arrived; then give it back.
  std::unique_ptr<Inflater> take_inflater();
  void give_back(std::unique_ptr<Inflater> inflater);
  Deflater& deflater(int level, int window_bits);

  // A buffer for one message; give it back when it is done with.
  Buffer take_buffer();
  void give_back(Buffer buffer);

  // What is compressed and inflated from now on is counted there, its time by that clock of
  // nanoseconds.
  void count_in(Counters* counters, uint64_t (*now_ns)()) {
    counters_ = counters;
    now_ns_ = now_ns;
  }
  template <class Work>
  void measure(Counters::Direction direction, Work work) {
    if (!counters_) return work();
    uint64_t before_ns = now_ns_();
    work();
    counters_->deflate_ns[direction].add(now_ns_() - before_ns);
  }
  void count(Counters::Direction direction, size_t raw_bytes, size_t wire_bytes) {
    if (!counters_) return;
    counters_->deflate_raw_bytes[direction].add(raw_bytes);
    counters_->deflate_wire_bytes[direction].add(wire_bytes);
  }

 private:
  Counters* counters_ = nullptr;
  uint64_t (*now_ns_)() = nullptr;
  std::unique_ptr<Inflater> inflater_;
  std::array<std::array<std::unique_ptr<Deflater>, 8>, 9> deflaters_;  // by level and window
  std::array<Buffer, 2> buffers_;
  size_t buffers_held_ = 0;
};

}  // namespace mws
