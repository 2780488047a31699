// A transport over a TCP or Unix stream socket.
#pragma once
#include "src/engine/transport.h"

namespace mws {

// Of a stream socket, without waiting.
IoResult read_socket(int descriptor, MutableBytes into);
IoResult write_socket(int descriptor, std::span<const iovec> pieces);

class SocketTransport : public Transport {
 public:
  explicit SocketTransport(int descriptor) : descriptor_(descriptor) {}  // which it will close
  ~SocketTransport() override;
  SocketTransport(const SocketTransport&) = delete;
  SocketTransport& operator=(const SocketTransport&) = delete;

  int descriptor() const override { return descriptor_; }
  bool reads_all() const override { return true; }
  bool is_socket() const override { return true; }
  IoResult read(MutableBytes into) override { return read_socket(descriptor_, into); }
  IoResult write(std::span<const iovec> pieces) override {
    return write_socket(descriptor_, pieces);
  }
  bool finish_writing() override;

 private:
  int descriptor_;
};

}  // namespace mws
