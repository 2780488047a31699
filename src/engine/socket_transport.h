// A transport over a TCP or Unix stream socket.
#pragma once
#include "src/engine/transport.h"

namespace mws {

class SocketTransport : public Transport {
 public:
  explicit SocketTransport(int descriptor) : descriptor_(descriptor) {}  // which it will close
  ~SocketTransport() override;
  SocketTransport(const SocketTransport&) = delete;
  SocketTransport& operator=(const SocketTransport&) = delete;

  int descriptor() const override { return descriptor_; }
  IoResult read(MutableBytes into) override;
  IoResult write(std::span<const iovec> pieces) override;
  bool finish_writing() override;

 private:
  int descriptor_;
};

}  // namespace mws
