// Clients of an engine that runs as it does in a server.
#pragma once
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "src/engine/engine.h"
#include "src/engine/socket_transport.h"
#include "tests/unit/engine_support.h"

namespace mws::test {

// Serves many connections, on many threads.
class Echo : public Endpoint {
 public:
  void on_open(Connection&) noexcept override { opened++; }
  void on_message(Connection& c, Opcode type, Bytes payload) noexcept override {
    c.send(type, payload);
  }
  void on_close(Connection&, uint16_t, std::string_view, bool) noexcept override { closed++; }
  std::atomic<int> opened = 0, closed = 0;
};

class SocketClient {
 public:
  SocketClient(Engine& engine, Endpoint& endpoint, std::string_view early = "",
               const Site& site = Site::unlimited()) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    descriptor_ = ends[0];
    engine.next_loop().any_thread_adopt(
        std::make_unique<Connection>(std::make_unique<SocketTransport>(ends[1]), endpoint,
                                     SessionSettings{}, nullptr, site),
        {early.begin(), early.end()});
  }
  ~SocketClient() { close(descriptor_); }
  SocketClient(const SocketClient&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t size = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      ASSERT_GT(size, 0);
      bytes.remove_prefix(size_t(size));
    }
  }
  void receive(size_t frames) {
    while (frames_of(wire).size() < frames || frames_of(wire).back() == "incomplete")
      if (!receive_some()) return;
  }
  void receive_to_end() {
    while (receive_some()) {
    }
  }

  std::string wire;

 private:
  bool receive_some() {
    char bytes[65536];
    ssize_t size = recv(descriptor_, bytes, sizeof bytes, 0);
    if (size > 0) wire.append(bytes, size_t(size));
    return size > 0;
  }
  int descriptor_;
};

}  // namespace mws::test
