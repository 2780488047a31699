// One message for many clients: framed once, and compressed once for all clients that have agreed
// on the same parameters. Any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "src/base/bytes.h"
#include "src/protocol/deflate.h"
#include "src/protocol/deflate_offer.h"
#include "src/protocol/frame.h"

namespace mws {

class PreparedMessage {
 public:
  // Copies the payload. Type is text or binary; text must be UTF-8.
  PreparedMessage(Opcode type, Bytes payload, bool may_compress = true);

  struct Frame {
    Bytes header, payload;  // valid as long as the message
  };
  // What goes to a client that has agreed on deflate, without context takeover of the server.
  // Throws std::bad_alloc.
  Frame frame(const DeflateParameters& deflate, DeflateShare& share) const;
  Frame frame() const { return plain_.frame(); }  // to one that has not

  Opcode type() const { return type_; }
  Bytes payload() const { return plain_.frame().payload; }
  bool may_compress() const { return may_compress_; }

 private:
  struct Framed {
    Framed(Opcode type, Bytes payload, bool compressed);
    Frame frame() const { return {{header, header_size}, payload}; }
    uint8_t header[kMaxServerHeader];
    size_t header_size;
    std::vector<uint8_t> payload;
  };
  // Null where it does not get smaller.
  struct Deflated {
    uint8_t level, window_bits;
    std::unique_ptr<const Framed> framed;
  };
  const Framed* deflated(const DeflateParameters& deflate, DeflateShare& share) const;

  const Opcode type_;
  const bool may_compress_;
  const Framed plain_;
  mutable std::mutex lock_;
  mutable std::vector<Deflated> deflated_;  // under lock_
};

}  // namespace mws
