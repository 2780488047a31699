// A handler to begin with: greets, counts what comes, and sends it back.
#include <mod_websocket/handler.h>

struct Hello : websocket::Handler {
  // WebSocketParam greeting TEXT. An exception here refuses the configuration with its text.
  explicit Hello(const websocket::Config& config)
      : greeting(config.param("greeting").value_or("Hello")) {}

  // Returns 0 to accept, or the HTTP status to reject with.
  int handshake(websocket::Request&) override { return 0; }

  void open(websocket::Connection& connection) override {
    connection.emplace<Visitor>();  // what is kept for the connection; freed with it
    connection.send_text(greeting);
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    connection.data<Visitor>()->messages++;
    connection.send(message);
  }

  void close(websocket::Connection& connection, uint16_t code, std::string_view, bool) override {
    websocket::log(WS_INFO, "left after " + std::to_string(connection.data<Visitor>()->messages) +
                                " messages, with code " + std::to_string(code));
  }

 private:
  struct Visitor {
    long messages = 0;
  };
  const std::string greeting;
};

WEBSOCKET_HANDLER(Hello)
