// A payload, cut anywhere, inflates to what zlib makes of it at once, and never past the limit. A
// message that is deflated inflates to itself.
//
// The input: a limit; bits: takeover, then the level and window to deflate with; the longest piece;
// the payload, which is also the message.
#include "src/protocol/deflate.h"

#include <zlib.h>

#include <vector>

#include "tests/fuzz/fuzz.h"

namespace mws::fuzz {
namespace {

using Result = Inflater::Result;
using Inflated = std::pair<Result, std::string>;  // the message only if good

// zlib with room for all that the longest input can inflate to.
class Plain {
 public:
  Plain() { demand(inflateInit2(&stream_, -15) == Z_OK, "zlib starts"); }
  ~Plain() { inflateEnd(&stream_); }
  Inflated inflate(Bytes payload, uint64_t limit) {
    static std::vector<uint8_t> room(4 << 20);
    stream_.next_out = room.data();
    stream_.avail_out = uInt(room.size());
    bool good = take(payload) && (complete_ || take(kTail)) && complete_;
    size_t size = room.size() - stream_.avail_out;
    demand(stream_.avail_out, "there is room");
    if (size > limit) return {Result::too_big, ""};
    if (!good) return {Result::corrupt, ""};
    return {Result::good, std::string(text_of({room.data(), size}))};
  }

 private:
  static constexpr uint8_t kTail[] = {0x00, 0x00, 0xff, 0xff};
  bool take(Bytes bytes) {
    stream_.next_in = const_cast<uint8_t*>(bytes.data());
    stream_.avail_in = uInt(bytes.size());
    while (stream_.avail_in) {
      int status = ::inflate(&stream_, Z_SYNC_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END) return false;
      complete_ = status == Z_STREAM_END || stream_.data_type == 128;  // between two blocks
      if (status == Z_STREAM_END) inflateResetKeep(&stream_);
    }
    return true;
  }
  z_stream stream_{};
  bool complete_ = true;
};

Inflated inflate(Inflater& inflater, Bytes payload, size_t piece, uint64_t limit) {
  Buffer out;
  Result result = Result::good;
  for (size_t size; result == Result::good && !payload.empty(); payload = payload.subspan(size)) {
    size = std::min(piece, payload.size());
    result = inflater.inflate(Copy(payload.first(size)).bytes(), out, limit);
  }
  if (result == Result::good) result = inflater.finish(out, limit);
  demand(out.size() <= limit + (result == Result::too_big), "the limit holds");
  return {result, result == Result::good ? std::string(text_of(out.bytes())) : ""};
}

}  // namespace
}  // namespace mws::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  using namespace mws::fuzz;
  constexpr uint64_t limits[] = {1 << 24, 0, 1, 2, 10, 1000, 4096, 70000};
  Input input{{data, size}};
  uint64_t limit = limits[input.next() % 8];
  unsigned bits = input.next();
  size_t longest = input.next() + size_t(1);
  Bytes payload = input.rest, hello = bytes_of({"\xf2\x48\xcd\xc9\xc9\x07\0", 7});
  for (size_t piece : {SIZE_MAX, size_t(1), longest}) {
    Plain plain;
    Inflater inflater(15);
    for (int round = 0; round < 2; round++) {  // the second may refer to the first
      Inflated expected = plain.inflate(payload, limit),
               got = inflate(inflater, payload, piece, limit);
      demand(got == expected, "it inflates to what zlib says");
      if (expected.first != Result::good || bits % 2 == 0) break;
    }
    inflater.reset();
    demand(inflate(inflater, hello, piece, 5).second == "Hello", "it is good after a reset");
  }

  auto deflater = Deflater::make(1 + int(bits / 2 % 9), 8 + int(bits / 18 % 8), bits % 2);
  Plain plain;
  for (int round = 0; round < 2 && !payload.empty(); round++) {
    Buffer out;
    deflater->deflate(payload, out);
    demand(plain.inflate(out.bytes(), size).second == text_of(payload), "it deflates");
  }
  return 0;
}
