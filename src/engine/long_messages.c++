// The memory of long messages: whence it comes, and who has it until they are sent.
#include <new>
#include <utility>

#include "src/engine/connection.h"
#include "src/engine/loop.h"

namespace mws {

// Nowhere if there is no memory: the session will find that out itself.
MutableBytes Connection::session_room() {
  try {
    return session_.room(*this);
  } catch (const std::bad_alloc&) {
    return {};
  }
}

void Connection::on_gathered(Opcode type, Buffer& message) {
  loop_->gathered_.begin(message);
  on_message(type, message.bytes());
  loop_->gathered_.end();
  loop_->spare_buffers_.give_back(std::move(message));
}

Buffer Connection::spare_buffer() { return loop_->spare_buffers_.take(); }

std::shared_ptr<const Buffer> Loop::Gathered::own(SpareBuffers& spare) {
  struct Owned {
    explicit Owned(SpareBuffers& its_spare) : spare(its_spare) {}
    ~Owned() { spare.give_back(std::move(buffer)); }
    SpareBuffers& spare;
    Buffer buffer;
  };
  if (!owner_) {
    auto owned = std::make_shared<Owned>(spare);
    owned->buffer = std::move(*message_);
    owner_ = {owned, &owned->buffer};
  }
  return owner_;
}

}  // namespace mws
