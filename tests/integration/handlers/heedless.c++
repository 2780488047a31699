// Sends what it is asked for, "SIZE COUNT", whether or not the client reads; pings each client once,
// and answers "pongs" with how many pongs it has heard of.
#include <mod_websocket/handler.h>

#include <cstdio>
#include <string>

struct Heedless : websocket::Handler {
  void open(websocket::Connection& connection) override {
    connection.emplace<int>(0);
    connection.ping("the handler's");
  }
  void pong(websocket::Connection& connection, std::string_view) override {
    ++*connection.data<int>();
  }
  void message(websocket::Connection& connection, websocket::Message message) override {
    if (message.data == "pongs") {
      connection.send_text(std::to_string(*connection.data<int>()));
      return;
    }
    unsigned size = 0, count = 0;
    sscanf(std::string(message.data).c_str(), "%u %u", &size, &count);
    for (std::string data(size, 'x'); count--;) connection.send_binary(data);
  }
};

WEBSOCKET_HANDLER(Heedless)
