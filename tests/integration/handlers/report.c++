// Says what happens to it. Each event is a line in the log at level info, behind the query of the
// request:
//
//     QUERY: open
//     QUERY: message TEXT
//     QUERY: asked to close: RESULT, send RESULT
//     QUERY: close CODE "REASON" clean|unclean after N
//
// A message is a command (see message()); any other comes back as "got TEXT". A handshake is told
// by request headers what to do. A query "wait-in-open=FILE" or "wait-in-close=FILE" makes that wait
// until the file is there.
#include <mod_websocket/handler.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <map>
#include <stdexcept>

namespace {

struct Report : websocket::Handler {
  struct State {
    std::string name;
    int messages = 0;
  };

  explicit Report(const websocket::Config& config) {
    if (auto text = config.param("refuse")) throw std::runtime_error(std::string(*text));
    if (config.param("refuse-without-words")) throw 1;
    for (const char* key : {"colour", "size", "Colour"})
      if (auto value = config.param(key)) params[key] = *value;
  }

  // X-Wait: waits until that file is there. X-Throw: throws that. X-Choose: tries this subprotocol. X-Status: returns that.
  int handshake(websocket::Request& request) override {
    if (auto file = request.header("X-Wait")) await_file(std::string(*file));
    if (auto text = request.header("X-Throw")) throw std::runtime_error(std::string(*text));
    if (auto name = request.header("X-Choose"))
      if (!request.accept_subprotocol(std::string(*name).c_str()))
        websocket::log(WS_INFO, "subprotocol " + std::string(*name) + " was not offered");
    return request.header("X-Status") ? number(*request.header("X-Status")) : 0;
  }

  void open(websocket::Connection& connection) override {
    State& state = connection.emplace<State>(std::string(connection.query()));
    event(state, "open");
    wait_if_named(state, "wait-in-open=");
    if (state.name.starts_with("close-in-open")) connection.close(4001, "not today");
    if (state.name.starts_with("throw-in-open")) throw std::runtime_error("thrown in open");
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    State& state = *connection.data<State>();
    std::string text(message.data);
    state.messages++;
    event(state, "message " + text.substr(0, 40));
    if (text.starts_with("wait ")) await_file(text.substr(5));
    if (text == "facts") connection.send_text(facts(connection));
    else if (text == "params") connection.send_text(all_params());
    else if (text == "count") connection.send_text(std::to_string(state.messages));
    else if (text == "tls") connection.send_text(tls(connection));
    else if (text == "extensions") connection.send_text(connection.extensions().value_or("none"));
    else if (text.starts_with("uncompressed ")) connection.send({text, false, false});
    else if (text == "block") pause();  // for ever, as a loop's thread gets no signals
    else if (text == "crash") raise(SIGSEGV);
    else if (text == "throw") throw std::runtime_error("thrown in message");
    else if (text == "throw no exception") throw 7;
    else if (text.starts_with("close ")) close_as_told(connection, state, text.substr(6));
    else connection.send_text("got " + text);
  }

  void close(websocket::Connection& connection, uint16_t code, std::string_view reason,
             bool clean) override {
    State& state = *connection.data<State>();
    event(state, "close " + std::to_string(code) + " \"" + std::string(reason) + "\" " +
                      (clean ? "clean" : "unclean") + " after " + std::to_string(state.messages));
    wait_if_named(state, "wait-in-close=");
    if (state.name.starts_with("throw-in-close")) throw std::runtime_error("thrown in close");
  }

 private:
  static int number(std::string_view text) {
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  }

  static void event(const State& state, const std::string& what) {
    websocket::log(WS_INFO, state.name + ": " + what);
  }

  // CODE REASON; says what the call returned, and what a message behind it does.
  static void close_as_told(websocket::Connection& connection, const State& state,
                            const std::string& told) {
    size_t space = std::min(told.find(' '), told.size());
    std::string_view reason = std::string_view(told).substr(std::min(space + 1, told.size()));
    connection.send_text("before");
    int closed = connection.close(uint16_t(number(told)), reason),
        sent = connection.send_text("behind");
    event(state, "asked to close: " + std::to_string(closed) + ", send " + std::to_string(sent));
  }

  static std::string facts(const websocket::Connection& connection) {
    std::string out;
    auto add = [&](const char* name, websocket::Text text) {
      out += std::string(name) + (text ? "=" + std::string(*text) : std::string(" is not there")) +
             "\n";
    };
    add("path", connection.fact(WS_PATH));
    add("query", connection.fact(WS_QUERY));
    add("host", connection.fact(WS_HOST));
    add("user", connection.user());
    add("address", connection.fact(WS_REMOTE_ADDRESS));
    add("subprotocol", connection.subprotocol());
    add("cookie", connection.header("cookie"));
    add("x-kept", connection.header("X-KEPT"));
    add("x-other", connection.header("X-Other"));
    return out;
  }

  static void wait_if_named(const State& state, const std::string& where) {
    if (state.name.starts_with(where)) await_file(state.name.substr(where.size()));
  }

  static void await_file(const std::string& file) {
    websocket::log(WS_NOTICE, "waits for " + file);
    while (access(file.c_str(), F_OK)) usleep(10'000);
  }

  static std::string tls(const websocket::Connection& connection) {
    std::string out;
    for (websocket::Text text : {connection.tls_version(), connection.tls_cipher(),
                                 connection.tls_server_name(), connection.tls_client_subject()})
      out += std::string(text.value_or("nothing")) + "\n";
    return out;
  }

  std::string all_params() const {
    std::string out;
    for (const auto& [key, value] : params) out += key + "=" + value + "\n";
    return out;
  }

  std::map<std::string, std::string> params;
};

}  // namespace

WEBSOCKET_HANDLER(Report, "Cookie", "X-Kept")
