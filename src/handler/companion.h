// What a kind of handlers has with each connection from the opening handshake on, before there is
// one. It hears of the connection's life on the loop's thread, while callbacks may be busy
// elsewhere.
#pragma once

struct ws_connection;

namespace mws {

class Connection;

class Companion {
 public:
  virtual ~Companion() = default;
  // Before the open callback. Throws std::bad_alloc.
  virtual void loop_open(ws_connection& peer, Connection& connection) = 0;
  // Nothing waits to be sent any more.
  virtual void loop_drained() noexcept = 0;
  // Before the close callback.
  virtual void loop_gone() noexcept = 0;
};

}  // namespace mws
