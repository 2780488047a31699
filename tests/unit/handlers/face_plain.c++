// A handler class that takes no parameters and overrides only what it must.
#include <mod_websocket/handler.h>

namespace {

struct Plain final : websocket::Handler {
  void message(websocket::Connection& connection, websocket::Message message) override {
    connection.send(message);
  }
};

}  // namespace

WEBSOCKET_HANDLER(Plain)
