// Whoever connects to a topic gets what is published to it.
#include <mod_websocket/handler.h>

struct Topics : websocket::Handler {
  void open(websocket::Connection& connection) override {
    connection.subscribe(topic_of(connection), {.since = 0, .last = 50});
  }
  void message(websocket::Connection& connection, websocket::Message message) override {
    websocket::publish(topic_of(connection), message);
  }
  static std::string_view topic_of(websocket::Connection& connection) {
    return connection.path_below().substr(1);
  }
};

WEBSOCKET_HANDLER(Topics)
