#include "src/engine/send_queue.h"

#include <algorithm>

namespace mws {

namespace {
constexpr size_t kChunkBytes = 16 * 1024;
// Behind bytes that are referred to: often the next frame's header is all that is copied.
constexpr size_t kSmallChunkBytes = 256;
}  // namespace

void SendQueue::append(Bytes bytes) {
  if (bytes.empty()) return;
  size_ += bytes.size();
  size_t capacity = kChunkBytes;
  if (!chunks_.empty()) {
    Chunk& last = chunks_.back();
    if (last.owner) capacity = kSmallChunkBytes;
    size_t fits = std::min(last.copied.capacity() - last.copied.size(), bytes.size());
    last.copied.insert(last.copied.end(), bytes.begin(), bytes.begin() + ptrdiff_t(fits));
    last.unwritten = {last.unwritten.data(), last.unwritten.size() + fits};
    bytes = bytes.subspan(fits);
    if (bytes.empty()) return;
  }
  Chunk chunk;
  chunk.copied.reserve(std::max(bytes.size(), capacity));
  chunk.copied.assign(bytes.begin(), bytes.end());
  chunk.unwritten = chunk.copied;
  size_t takes = chunk.copied.capacity();
  push(std::move(chunk), takes);
}

void SendQueue::push(Chunk chunk, size_t bytes) {
  chunk.memory = bytes + sizeof(Chunk);
  size_t memory = chunk.memory;
  chunks_.push_back(std::move(chunk));
  memory_ += memory;
}

void SendQueue::append(Bytes bytes, std::shared_ptr<const void> owner, size_t memory) {
  if (!owner || bytes.size() < kReferredFrom) return append(bytes);
  size_t share = bytes.size() / size_t(std::max(owner.use_count(), 1l));
  push({bytes, {}, std::move(owner)}, memory ? memory : share);
  size_ += bytes.size();
}

std::span<const iovec> SendQueue::front() {
  size_t count = std::min(chunks_.size(), kMaxPieces);
  for (size_t i = 0; i < count; i++) {
    Bytes unwritten = chunks_[i].unwritten;
    pieces_[i] = {const_cast<uint8_t*>(unwritten.data()), unwritten.size()};
  }
  return {pieces_.data(), count};
}

void SendQueue::pop(size_t size) {
  size_ -= size;
  while (size) {
    Bytes& unwritten = chunks_.front().unwritten;
    size_t of_chunk = std::min(size, unwritten.size());
    unwritten = unwritten.subspan(of_chunk);
    size -= of_chunk;
    if (!unwritten.empty()) continue;
    memory_ -= chunks_.front().memory;
    chunks_.pop_front();
  }
}

}  // namespace mws
