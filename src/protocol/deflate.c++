#include "src/protocol/deflate.h"

#include <zlib.h>

#include <algorithm>
#include <climits>
#include <new>
#ifdef WEBSOCKET_ISAL
#include <isa-l/igzip_lib.h>
#endif

namespace mws {

namespace {

// The end of the empty block that ends each flush; a sender leaves it out (§7.2.1).
constexpr uint8_t kTail[] = {0x00, 0x00, 0xff, 0xff};
constexpr size_t kMaxInput = 1 << 30;  // bytes for one call of a library

// The smallest window that zlib deflates raw data with. It never refers back more than the window
// less 262 bytes: 250, which is within one of 8 bits too.
constexpr int kMinZlibWindow = 9;

uint8_t* writable(const uint8_t* input) { return const_cast<uint8_t*>(input); }

// Calls work with pieces that a library takes in one call, the last one marked; at least once.
template <class Work>
void in_pieces(Bytes input, Work work) {
  while (input.size() > kMaxInput) {
    work(input.first(kMaxInput), false);
    input = input.subspan(kMaxInput);
  }
  work(input, true);
}

// Appends a message's payload to out. The fields of both libraries' streams have the same names.
// room: for what so many bytes deflate to; run: the library's call, which flushes after the last.
template <class Stream, class Room, class Run>
void deflate_with(Stream& stream, Bytes message, Buffer& out, Room room, Run run) {
  in_pieces(message, [&](Bytes piece, bool last) {
    stream.next_in = writable(piece.data());
    stream.avail_in = uint32_t(piece.size());
    size_t likely = room(piece.size());
    do {
      MutableBytes to = out.spare(likely, out.size() + likely);
      stream.next_out = to.data();
      stream.avail_out = uint32_t(std::min<size_t>(to.size(), UINT32_MAX));
      size_t had = stream.avail_out;
      run(last);
      out.add_written(had - stream.avail_out);
    } while (!stream.avail_out);
  });
  out.drop_last(sizeof kTail);
}

class ZlibDeflater final : public Deflater {
 public:
  ZlibDeflater(int level, int window_bits, bool takeover)
      : window_bits_(std::max(window_bits, kMinZlibWindow)),
        // With takeover each connection pays: as much for the hash table as for the window.
        memory_level_(takeover ? std::max(window_bits_ - 7, 3) : 8),
        takeover_(takeover) {
    if (deflateInit2(&stream_, level, Z_DEFLATED, -window_bits_, memory_level_,
                     Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::bad_alloc();
  }
  ~ZlibDeflater() override { deflateEnd(&stream_); }

  void deflate(Bytes message, Buffer& out) override {
    if (!takeover_) deflateReset(&stream_);
    auto room = [&](size_t size) { return deflateBound(&stream_, uLong(size)) + 64; };
    deflate_with(stream_, message, out, room,
                 [&](bool last) { ::deflate(&stream_, last ? Z_SYNC_FLUSH : Z_NO_FLUSH); });
  }

  size_t memory_bytes() const override {
    return (size_t(1) << (window_bits_ + 2)) + (size_t(1) << (memory_level_ + 9)) + 6000;
  }

 private:
  z_stream stream_{};
  const int window_bits_, memory_level_;
  const bool takeover_;
};

#ifdef WEBSOCKET_ISAL
// Without takeover, with the largest window, on the levels 1 to 3.
class IsalDeflater final : public Deflater {
 public:
  explicit IsalDeflater(int level) : level_buffer_(new uint8_t[kLevelBytes[level]]) {
    isal_deflate_init(&stream_);
    stream_.level = uint32_t(level);
    stream_.level_buf = level_buffer_.get();
    stream_.level_buf_size = kLevelBytes[level];
  }

  void deflate(Bytes message, Buffer& out) override {
    isal_deflate_reset(&stream_);
    auto room = [](size_t size) { return size + size / 256 + 512; };
    deflate_with(stream_, message, out, room, [&](bool last) {
      stream_.flush = last ? SYNC_FLUSH : NO_FLUSH;
      isal_deflate(&stream_);
    });
  }

  size_t memory_bytes() const override { return sizeof *this + stream_.level_buf_size; }

 private:
  static constexpr uint32_t kLevelBytes[] = {0, ISAL_DEF_LVL1_MEDIUM, ISAL_DEF_LVL2_MEDIUM,
                                             ISAL_DEF_LVL3_MEDIUM};
  std::unique_ptr<uint8_t[]> level_buffer_;
  isal_zstream stream_;
};
#endif

constexpr size_t kKeptBuffer = 256 * 1024;  // bytes; larger ones are freed after their message

}  // namespace

// --- Inflater ---

struct Inflater::Stream : z_stream {
  int window_bits = 0;
};

Inflater::Inflater(int window_bits) : stream_(new Stream{}) {
  stream_->window_bits = window_bits;
  if (inflateInit2(stream_.get(), -window_bits) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(stream_.get()); }

Inflater::Result Inflater::inflate(Bytes piece, Buffer& out, uint64_t limit) {
  Result result = Result::good;
  in_pieces(piece, [&](Bytes part, bool) {
    if (part.empty() || result != Result::good) return;
    z_stream& stream = *stream_;
    stream.next_in = writable(part.data());
    stream.avail_in = uInt(part.size());
    for (;;) {
      uint64_t left = limit + 1 - out.size();  // one more shows that it is too big
      size_t likely = std::clamp<size_t>(4 * size_t(stream.avail_in), 1024, 256 * 1024);
      MutableBytes to = out.spare(size_t(std::min<uint64_t>(likely, left)), limit + 1);
      stream.next_out = to.data();
      stream.avail_out = uInt(std::min<uint64_t>({to.size(), left, UINT_MAX}));
      size_t had = stream.avail_out;
      int status = ::inflate(&stream, Z_NO_FLUSH);
      out.add_written(had - stream.avail_out);
      if (status == Z_MEM_ERROR) throw std::bad_alloc();
      // What is past the limit comes first: zlib may have looked at what follows, or not yet.
      if (out.size() > limit) result = Result::too_big;
      else if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        result = Result::corrupt;
      if (result != Result::good) return;
      // Another stream may follow a last block; a window stays, as later blocks may refer to it.
      if (status == Z_STREAM_END) inflateResetKeep(&stream);
      // zlib tells the bits not used yet, and 128 for a place between two blocks; but not when
      // called once more with nothing to do, after an output that filled the room exactly.
      if (status != Z_BUF_ERROR)
        between_blocks_ = status == Z_STREAM_END || stream.data_type == 128;
      if (!stream.avail_in && (stream.avail_out || status == Z_STREAM_END)) return;
    }
  });
  return result;
}

Inflater::Result Inflater::finish(Buffer& out, uint64_t limit) {
  if (between_blocks_) return Result::good;
  Result result = inflate(kTail, out, limit);
  if (result == Result::good && !between_blocks_) return Result::corrupt;
  return result;
}

void Inflater::reset() {
  inflateReset(stream_.get());
  between_blocks_ = true;
}

size_t Inflater::memory_bytes() const {
  return sizeof *this + sizeof *stream_ + 7200 + (size_t(1) << stream_->window_bits);
}

// --- Deflater ---

std::unique_ptr<Deflater> Deflater::make(int level, int window_bits, bool takeover) {
#ifdef WEBSOCKET_ISAL
  if (level <= 3 && window_bits == kMaxWindowBits && !takeover)
    return std::make_unique<IsalDeflater>(level);
#endif
  return std::make_unique<ZlibDeflater>(level, window_bits, takeover);
}

// --- DeflateShare ---

Inflater& DeflateShare::inflater() {
  inflater_ = take_inflater();
  return *inflater_;
}

std::unique_ptr<Inflater> DeflateShare::take_inflater() {
  if (!inflater_) return std::make_unique<Inflater>(kMaxWindowBits);
  inflater_->reset();
  return std::move(inflater_);
}

void DeflateShare::give_back(std::unique_ptr<Inflater> inflater) {
  inflater_ = std::move(inflater);
}

Deflater& DeflateShare::deflater(int level, int window_bits) {
  auto& deflater = deflaters_.at(size_t(level - 1)).at(size_t(window_bits - 8));
  if (!deflater) deflater = Deflater::make(level, window_bits, false);
  return *deflater;
}

Buffer DeflateShare::take_buffer() {
  return buffers_held_ ? std::move(buffers_[--buffers_held_]) : Buffer();
}

void DeflateShare::give_back(Buffer buffer) {
  if (buffers_held_ == buffers_.size()) return;
  buffer.clear(kKeptBuffer);
  buffers_[buffers_held_++] = std::move(buffer);
}

}  // namespace mws
