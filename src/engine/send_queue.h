// Bytes of one connection that the kernel did not take yet. One thread.
#pragma once
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "src/base/bytes.h"

namespace mws {

class SendQueue {
 public:
  // Shorter ones are copied though they have an owner: it costs less.
  static constexpr size_t kReferredFrom = 1024;  // bytes

  void append(Bytes bytes);  // copies
  // Refers to the bytes, which stay as they are while their owner lives: it is kept until they are
  // popped. Without one it copies. memory is what the owner takes, 0: a share of the bytes.
  void append(Bytes bytes, std::shared_ptr<const void> owner, size_t memory = 0);
  // The front of the queue, for one write.
  std::span<const iovec> front();
  void pop(size_t size);  // bytes that were written
  size_t size() const { return size_; }
  // Memory that the bytes take here; of what others refer to as well, about a share.
  size_t memory() const { return memory_; }
  bool empty() const { return size_ == 0; }

 private:
  static constexpr size_t kMaxPieces = 16;
  struct Chunk {
    Bytes unwritten;              // of either:
    std::vector<uint8_t> copied;  // never moves: it grows within its capacity
    std::shared_ptr<const void> owner;
    size_t memory = 0;
  };
  void push(Chunk chunk, size_t bytes);
  std::deque<Chunk> chunks_;
  size_t size_ = 0, memory_ = 0;
  std::array<iovec, kMaxPieces> pieces_;
};

}  // namespace mws
