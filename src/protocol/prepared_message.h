// One message for many clients: framed once, and compressed once for all clients that have agreed
// on the same parameters. Any thread.
#pragma once
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
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
  // Refers to the payload, which stays as it is until released is called: once, when the message is
  // destroyed, on the thread that does.
  PreparedMessage(Opcode type, Bytes payload, bool may_compress, std::function<void()> released);
  ~PreparedMessage();

  struct Frame {
    Bytes header, payload;  // valid as long as the message
  };
  // What goes to a client that has agreed on deflate, without context takeover of the server.
  // Throws std::bad_alloc.
  Frame frame(const DeflateParameters& deflate, DeflateShare& share) const;
  Frame frame() const { return plain_.frame(); }  // to one that has not

  Opcode type() const { return type_; }
  Bytes payload() const { return plain_.payload; }
  bool may_compress() const { return may_compress_; }

 private:
  struct Framed {
    Framed(Opcode type, Bytes payload, bool compressed);  // refers to the payload
    Frame frame() const { return {{header, header_size}, payload}; }
    uint8_t header[kMaxServerHeader];
    size_t header_size;
    Bytes payload;
  };
  struct Deflated {  // not framed where it does not get smaller
    uint8_t level, window_bits;
    std::vector<uint8_t> payload;
    std::optional<Framed> framed;
  };
  const Framed* deflated(const DeflateParameters& deflate, DeflateShare& share) const;

  const Opcode type_;
  const bool may_compress_;
  const std::vector<uint8_t> copy_;  // of the payload, unless it refers to it
  const Framed plain_;
  const std::function<void()> released_;
  mutable std::mutex lock_;
  mutable std::list<Deflated> deflated_;  // under lock_; what is in it stays where it is
};

}  // namespace mws
