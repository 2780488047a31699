// Does what a client asks for, by each function that a handler may call. WebSocketParam threads N
// has each connection opened by N threads that send until it is gone.
#include <mod_websocket/handler.h>
#include <sys/stat.h>

#include <chrono>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using websocket::Connection;
using websocket::Handle;
using websocket::Text;

bool exists(const std::string& file) {
  struct stat ignored;
  return stat(file.c_str(), &ignored) == 0;
}

std::string shown(Text text) { return text ? "\"" + std::string(*text) + "\"" : "none"; }

std::mutex of_others;
ws_connection* a_closed_one;  // under of_others

struct State {
  Handle handle;
  std::string file;  // to resume by
  int drained = 0;
  std::vector<std::thread> threads;
};

class Sdk final : public websocket::Handler {
 public:
  explicit Sdk(const websocket::Config& config)
      : threads_(std::stoi(std::string(config.param("threads").value_or("0")))) {}

  int handshake(websocket::Request& request) override {
    if (request.header("X-Bad-Header")) {
      request.add_header("Upgrade", "h2c");
      request.add_header("X-Split", "a\r\nb");
      request.add_header("not a token", "x");
    }
    request.add_header("Set-Cookie", "one=1");
    request.add_header("Set-Cookie", "two=2; HttpOnly");
    if (auto file = request.parameter("await")) await(std::string(*file));
    if (auto note = request.parameter("note")) request.set_note(*note);
    if (request.header("X-Describe")) return describe(request);
    auto status = request.header("X-Status");
    return status ? std::stoi(std::string(*status)) : 0;
  }

  void open(Connection& connection) override {
    State& state = connection.emplace<State>();
    state.handle = connection.handle();
    for (int i = 0; i < threads_; i++)
      state.threads.emplace_back([handle = state.handle, i] {
        std::string line = "from " + std::to_string(i);
        while (handle.send_text(line) >= 0)
          if (handle.buffered_amount() > 64 * 1024)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
  }

  void message(Connection& connection, websocket::Message message) override {
    std::istringstream words{std::string(message.data)};
    std::string command;
    words >> command;
    if (command == "facts") return facts(connection);
    if (command == "timer") return timers(connection, words);
    if (command == "ping") return say(connection, connection.ping(rest(words)));
    if (command == "pause") return pause(connection, rest(words));
    if (command == "abort") return (void)connection.abort();
    if (command == "fragments") return fragments(connection, words);
    if (command == "broken-fragment") return broken_fragment(connection);
    if (command == "post") return post(connection, rest(words));
    if (command == "thread") return from_a_thread(connection, rest(words));
    if (command == "wrong-thread") return wrong_thread(connection);
    if (command == "closed-one") return use_a_closed_one(connection);
    if (command == "await") {
      await(rest(words));
      return (void)connection.send_text("awaited");
    }
    if (command == "big") return big(connection, words);
    if (command == "drained") return say(connection, connection.data<State>()->drained);
    if (command == "throw") throw std::runtime_error("thrown in message");
    if (command == "buffer") return buffer(connection, rest(words));
    if (command == "sleep") std::this_thread::sleep_for(std::chrono::milliseconds(300));
    connection.send(message);
  }

  void drained(Connection& connection) override { connection.data<State>()->drained++; }
  void ping(Connection& connection, std::string_view data) override {
    connection.send_text("ping " + std::string(data));
  }
  void pong(Connection& connection, std::string_view data) override {
    connection.send_text("pong " + std::string(data));
  }
  void timer(Connection& connection, uint32_t id) override {
    State& state = *connection.data<State>();
    if (id < 7) return (void)connection.send_text("timer " + std::to_string(id));
    if (!exists(state.file)) return (void)connection.set_timer(5, 7);
    connection.send_text("resumed");
    connection.resume();
  }
  void close(Connection& connection, uint16_t code, std::string_view reason, bool) override {
    State& state = *connection.data<State>();
    if (state.handle.send_text("late") != WS_CLOSED)
      websocket::log(WS_ERROR, "a handle sends in close");
    for (auto& thread : state.threads) thread.join();
    websocket::log(WS_INFO, "closed " + std::to_string(code) + " " + std::string(reason));
    std::lock_guard hold(of_others);
    a_closed_one = connection.get();
  }

 private:
  template <class Number>
  static void say(Connection& connection, Number number) {
    connection.send_text(std::to_string(number));
  }
  static std::string rest(std::istringstream& words) {
    std::string text;
    std::getline(words >> std::ws, text);
    return text;
  }

  static int describe(websocket::Request& request) {
    std::ostringstream text;
    text << request.method() << " " << request.uri() << "\n" << request.path() << "\n"
         << request.path_below() << "\n" << request.query() << "\n"
         << shown(request.auth_type()) << "\n" << shown(request.extensions_offered()) << "\n"
         << shown(request.cookie("session")) << "\n" << shown(request.parameter("q")) << "\n";
    request.headers([&](std::string_view name, std::string_view value) {
      if (name == "X-Throw") throw std::runtime_error("thrown for a header");
      if (name[0] == 'X') text << name << "=" << value << "\n";
    });
    request.set_body("text/plain; charset=utf-8", text.str());
    return 403;
  }

  static void facts(Connection& connection) {
    std::string text;
    for (int fact = 0; fact <= WS_NOTE; fact++)
      text += shown(connection.fact(ws_fact(fact))) + "\n";
    connection.send_text(text);
  }

  static void timers(Connection& connection, std::istringstream& words) {
    uint32_t id;
    for (uint64_t in_ms; words >> id >> in_ms;) connection.set_timer(in_ms, id);
  }

  static void pause(Connection& connection, const std::string& file) {
    connection.data<State>()->file = file;
    connection.pause();
    connection.set_timer(1, 7);
    connection.send_text("paused");
  }

  // COUNT SIZE, with a message sent in between.
  static void fragments(Connection& connection, std::istringstream& words) {
    size_t count, size;
    words >> count >> size;
    for (size_t i = 0; i < count; i++) {
      connection.send_fragment(std::string(size, char('a' + i % 26)), false, i + 1 == count);
      if (i == 0) connection.send_text("between");
    }
  }

  static void broken_fragment(Connection& connection) {
    std::string results;
    auto add = [&](ws_result result) { results += std::to_string(result) + " "; };
    add(connection.send_fragment("caf\xc3", false, false));
    add(connection.send_fragment("\xff", false, false));
    add(connection.send_fragment("x", true, false));
    add(connection.send_fragment("\xa9", false, true));
    add(connection.send_fragment("cut \xc3", false, true));
    connection.send_text(results);
  }

  static void post(Connection& connection, const std::string& text) {
    connection.data<State>()->handle.post([text](Connection& later) {
      if (text == "throw") throw std::runtime_error("thrown in a post");
      later.send_text("posted " + text);
    });
    connection.send_text("posting");
  }

  static void from_a_thread(Connection& connection, const std::string& text) {
    State& state = *connection.data<State>();
    state.threads.emplace_back([handle = state.handle, text] { handle.send_text(text); });
  }

  static void wrong_thread(Connection& connection) {
    int result = 0, closed = 0;
    std::thread([&] {
      result = connection.send_text("wrong");
      closed = connection.close(1000);
    }).join();
    connection.send_text(std::to_string(result) + " " + std::to_string(closed));
  }

  static void use_a_closed_one(Connection& connection) {
    std::lock_guard hold(of_others);
    Connection closed(a_closed_one);
    say(connection, closed.send_text("to nobody"));
  }

  static void await(const std::string& file) {
    while (!exists(file)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  static void big(Connection& connection, std::istringstream& words) {
    size_t size;
    words >> size;
    std::string result = std::to_string(connection.send_binary(std::string(size, 'b')));
    websocket::log(WS_INFO, "sent: " + result);
    connection.send_text(result);
  }

  static void buffer(Connection& connection, const std::string& text) {
    websocket::Buffer copied({text}), taken = websocket::Buffer::of(std::string(text));
    connection.send(copied);
    connection.data<State>()->handle.send(taken);
  }

  const int threads_;
};

}  // namespace

WEBSOCKET_HANDLER(Sdk)
