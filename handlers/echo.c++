// Sends every message back as it came: text stays text, binary stays binary. Accepts the
// subprotocol "echo" if it is offered.
#include <mod_websocket/handler.h>

struct Echo : websocket::Handler {
  int handshake(websocket::Request& request) override {
    request.accept_subprotocol("echo");
    return 0;
  }
  void message(websocket::Connection& connection, websocket::Message message) override {
    connection.send(message);
  }
};

WEBSOCKET_HANDLER(Echo)
