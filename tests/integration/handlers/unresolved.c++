// Needs a function that no library has.
#include <mod_websocket/handler.h>

extern "C" int function_that_nobody_has();

struct Unresolved : websocket::Handler {
  void message(websocket::Connection& connection, websocket::Message) override {
    connection.close(uint16_t(function_that_nobody_has()));
  }
};

WEBSOCKET_HANDLER(Unresolved)
