// Bytes that grow at the end. The memory is not initialised, and grows with what has arrived, not
// with what a client announces.
#pragma once
#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "src/base/bytes.h"

namespace mws {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }

  // Makes the buffer more bytes longer and returns where they go. expected is the size it will have
  // in the end as far as known: an upper bound for what is reserved ahead. Throws std::bad_alloc.
  uint8_t* grow(size_t more, uint64_t expected) {
    reserve(more, expected);
    uint8_t* at = memory_.get() + size_;
    size_ += more;
    return at;
  }

  // Memory behind the end, at least as much as asked for; add_written() then takes of it what was
  // written. Throws std::bad_alloc.
  MutableBytes spare(size_t at_least, uint64_t expected) {
    reserve(at_least, expected);
    return {memory_.get() + size_, capacity_ - size_};
  }
  void add_written(size_t size) { size_ += size; }

  // Makes it empty, and keeps memory for later unless it is more than so many bytes.
  void clear(size_t keep) {
    size_ = 0;
    if (capacity_ > keep) *this = Buffer();
  }
  void drop_last(size_t size) { size_ -= size; }

  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  MutableBytes bytes() { return {memory_.get(), size_}; }

 private:
  void reserve(size_t more, uint64_t expected) {
    size_t needed = size_ + more;
    if (needed <= capacity_) return;
    uint64_t ahead = std::min<uint64_t>(expected, std::max<uint64_t>(2 * needed, 4096));
    size_t capacity = std::max(needed, size_t(ahead));
    void* memory = realloc(memory_.get(), capacity);
    if (!memory) throw std::bad_alloc();
    (void)memory_.release();
    memory_.reset(static_cast<uint8_t*>(memory));
    capacity_ = capacity;
  }

  struct Free {
    void operator()(uint8_t* memory) const { free(memory); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  size_t size_ = 0, capacity_ = 0;
};

// Memory of long messages that are done with, for the next ones: memory that is new costs a fault
// for each of its pages. One thread.
class SpareBuffers {
 public:
  static constexpr size_t kLong = 64 * 1024;        // bytes; shorter ones are not kept
  static constexpr size_t kMost = 4 * 1024 * 1024;  // bytes, all together

  // From now on nothing is kept.
  void keep_none() { keeps_ = false; }
  // The one that was given back last, empty; without memory if there is none.
  Buffer take() {
    if (!count_) return {};
    Buffer taken = std::move(kept_[--count_]);
    bytes_ -= taken.capacity();
    return taken;
  }
  void give_back(Buffer buffer) {
    size_t size = buffer.capacity();
    if (!keeps_ || size < kLong || count_ == kept_.size() || bytes_ + size > kMost) return;
    bytes_ += size;
    buffer.clear(size);
    kept_[count_++] = std::move(buffer);
  }

 private:
  std::array<Buffer, 16> kept_;
  size_t count_ = 0, bytes_ = 0;
  bool keeps_ = true;
};

}  // namespace mws
