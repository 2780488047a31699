// Bytes of one connection that the kernel did not take yet. One thread.
#pragma once
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "src/base/bytes.h"

namespace mws {

class SendQueue {
 public:
  void append(Bytes bytes);  // copies
  // The front of the queue, for one write.
  std::span<const iovec> front();
  void pop(size_t size);  // bytes that were written
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  static constexpr size_t kMaxPieces = 16;
  struct Chunk {
    std::vector<uint8_t> bytes;
    size_t written = 0;
  };
  std::deque<Chunk> chunks_;
  size_t size_ = 0;
  std::array<iovec, kMaxPieces> pieces_;
};

}  // namespace mws
