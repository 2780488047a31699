#include "src/engine/send_queue.h"

#include <algorithm>

namespace mws {

namespace {
constexpr size_t kChunkBytes = 16 * 1024;
}

void SendQueue::append(Bytes bytes) {
  if (bytes.empty()) return;
  size_ += bytes.size();
  if (!chunks_.empty()) {
    auto& last = chunks_.back().bytes;
    size_t fits = std::min(last.capacity() - last.size(), bytes.size());
    last.insert(last.end(), bytes.begin(), bytes.begin() + ptrdiff_t(fits));
    bytes = bytes.subspan(fits);
    if (bytes.empty()) return;
  }
  Chunk chunk;
  chunk.bytes.reserve(std::max(bytes.size(), kChunkBytes));
  chunk.bytes.assign(bytes.begin(), bytes.end());
  chunks_.push_back(std::move(chunk));
}

std::span<const iovec> SendQueue::front() {
  size_t count = std::min(chunks_.size(), kMaxPieces);
  for (size_t i = 0; i < count; i++) {
    Chunk& chunk = chunks_[i];
    pieces_[i] = {chunk.bytes.data() + chunk.written, chunk.bytes.size() - chunk.written};
  }
  return {pieces_.data(), count};
}

void SendQueue::pop(size_t size) {
  size_ -= size;
  while (size) {
    Chunk& chunk = chunks_.front();
    size_t of_chunk = std::min(size, chunk.bytes.size() - chunk.written);
    chunk.written += of_chunk;
    size -= of_chunk;
    if (chunk.written == chunk.bytes.size()) chunks_.pop_front();
  }
}

}  // namespace mws
