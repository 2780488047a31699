// A handler class that takes its parameters and uses all of the C++ face.
#include <mod_websocket/handler.h>

#include <stdexcept>

namespace {

std::string shown(websocket::Text text) { return text ? "\"" + std::string(*text) + "\"" : "none"; }

class Face final : public websocket::Handler {
 public:
  explicit Face(const websocket::Config& config)
      : greeting_(config.param("greeting").value_or("")) {
    if (config.param("fail") == "text") throw std::invalid_argument("greeting is too rude");
    if (config.param("fail") == "number") throw 42;
  }
  ~Face() override { websocket::log(WS_NOTICE, "destroyed"); }

  int handshake(websocket::Request& request) override {
    if (request.header("Throw") == "text") throw std::runtime_error("no handshake");
    if (request.header("Throw") == "number") throw 42;
    if (request.path() == "/forbidden") return 403;
    for (size_t i = 0; auto name = request.subprotocol(i); i++)
      if (request.accept_subprotocol(std::string(*name).c_str())) break;
    return request.accept_subprotocol("not offered") ? 500 : 0;
  }

  void open(websocket::Connection& connection) override {
    connection.emplace<int>(0);
    if (!greeting_.empty()) connection.send_text(greeting_);
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    ++*connection.data<int>();
    if (message.data == "throw text") throw std::runtime_error("no message");
    if (message.data == "throw number") throw 42;
    if (message.data == "close") connection.close(4000, "as you wish");
    else if (message.data == "facts")
      connection.send_text(std::string(connection.path()) + "?" + std::string(connection.query()) +
                           " " + shown(connection.user()) + " " + shown(connection.subprotocol()) +
                           " " + std::string(connection.remote_address()) + " " +
                           shown(connection.header("cookie")) + " " +
                           shown(connection.header("X-Other")));
    else if (message.binary) connection.send_binary(message.data);
    else connection.send(message);
  }

  void close(websocket::Connection& connection, uint16_t code, std::string_view reason,
             bool clean) override {
    int* count = connection.data<int>();
    websocket::log(WS_INFO, "closed after " + std::to_string(*count) + " with " +
                                std::to_string(code) + " " + std::string(reason) +
                                (clean ? ", clean" : ""));
    if (reason == "throw") throw std::runtime_error("no close");
  }

 private:
  std::string greeting_;
};

}  // namespace

WEBSOCKET_HANDLER(Face, "Cookie", "X-Other")
