// Subscribes and publishes as a client asks for, by each function that there is, and tells it what
// came of it and what it is called for. What is published comes between, as it is.
//
//     [elsewhere] subscribe TOPIC [since ID] [last N] [enveloped]    elsewhere: by the handle, on
//     [elsewhere] unsubscribe TOPIC                                  a thread of its own
//     [elsewhere] publish TOPIC [transient] [uncompressed] [done] [binary] TEXT
//     mistakes     wrong-thread     closed-one
#include <mod_websocket/handler.h>

#include <mutex>
#include <sstream>
#include <thread>

namespace {

using websocket::Connection;
using websocket::Handle;

std::mutex of_others;
ws_connection* a_closed_one;  // under of_others

struct Command {
  explicit Command(std::string_view text) : words(std::string(text)) { words >> name; }
  // The next word, if it is this one.
  bool takes(const std::string& word) {
    auto before = words.tellg();
    std::string next;
    if (words >> next && next == word) return true;
    words.clear();
    words.seekg(before);
    return false;
  }
  template <class T>
  T next() {
    T value{};
    words >> value;
    return value;
  }
  std::string rest() {
    std::string text;
    std::getline(words >> std::ws, text);
    return text;
  }

  std::istringstream words;
  std::string name;
};

// With a Connection or a Handle.
template <class Of>
ws_result run(Of& of, Handle handle, Command& command) {
  std::string topic = command.next<std::string>();
  if (command.name == "unsubscribe") return of.unsubscribe(topic);
  if (command.name == "subscribe") {
    websocket::Subscription how;
    if (command.takes("since")) how.since = command.next<uint64_t>();
    if (command.takes("last")) how.last = command.next<uint64_t>();
    how.enveloped = command.takes("enveloped");
    return of.subscribe(topic, how);
  }
  bool transient = command.takes("transient"), uncompressed = command.takes("uncompressed"),
       done = command.takes("done"), binary = command.takes("binary");
  std::string text = command.rest();
  websocket::Message message{text, binary, !uncompressed};
  if (!done) return websocket::publish(topic, message, {.transient = transient});
  return websocket::publish(topic, message, {.transient = transient}, [handle](const ws_published& published) {
    handle.send_text("done " + std::to_string(published.result) + " " +
                     std::to_string(published.id) + " " + std::to_string(published.subscribers));
  });
}

std::string mistakes(Connection& connection) {
  const ws_host& host = *websocket::detail::host;
  ws_connection* c = connection.get();
  ws_handle handle = host.handle(c);
  std::string long_one(256, 'x'), results;
  auto of = [&](ws_result result) { results += std::to_string(result) + " "; };
  struct {
    const char* data;
    size_t size;
  } topics[] = {{nullptr, 0}, {nullptr, 5}, {"", 0}, {"\xff", 1}, {long_one.data(), 256}};
  for (auto topic : topics) {
    of(host.subscribe(c, topic.data, topic.size, nullptr));
    of(host.unsubscribe(c, topic.data, topic.size));
    of(host.handle_subscribe(handle, topic.data, topic.size, nullptr));
    of(host.handle_unsubscribe(handle, topic.data, topic.size));
    of(host.publish(&host, topic.data, topic.size, WS_TEXT, "x", 1, nullptr));
  }
  ws_subscription how{sizeof how, WS_ENVELOPED | 4, 0, 0};
  of(host.subscribe(c, "a", 1, &how));
  of(host.handle_subscribe(handle, "a", 1, &how));
  ws_publishing flags{sizeof flags, 4, nullptr, nullptr};
  of(host.publish(&host, "a", 1, WS_TEXT, "x", 1, &flags));
  of(host.publish(&host, "a", 1, WS_TEXT, "\xff", 1, nullptr));
  of(host.publish(&host, "a", 1, WS_TEXT, nullptr, 1, nullptr));
  of(host.publish(&host, "a", 1, ws_type(7), "x", 1, nullptr));
  return results;
}

ws_result on_a_thread(ws_connection* c) {
  const ws_host& host = *websocket::detail::host;
  ws_result first = WS_OK, second = WS_OK;
  std::thread([&] {
    first = host.subscribe(c, "a", 1, nullptr);
    second = host.unsubscribe(c, "a", 1);
  }).join();
  return first == second ? first : WS_OK;
}

struct TopicsSdk final : websocket::Handler {
  void open(Connection& connection) override { connection.emplace<Handle>(connection.handle()); }

  void message(Connection& connection, websocket::Message message) override {
    Command command(message.data);
    Handle handle = *connection.data<Handle>();
    if (command.name == "mistakes") return (void)connection.send_text(mistakes(connection));
    if (command.name == "wrong-thread") return say(connection, on_a_thread(connection.get()));
    if (command.name == "closed-one") {
      std::lock_guard hold(of_others);
      if (!a_closed_one) return say(connection, WS_OK);  // not yet
      return say(connection, websocket::detail::host->subscribe(a_closed_one, "a", 1, nullptr));
    }
    if (command.name != "elsewhere") return say(connection, run(connection, handle, command));
    command.name = command.next<std::string>();
    ws_result result = WS_OK;
    std::thread([&] { result = run(handle, handle, command); }).join();
    say(connection, result);
  }

  void subscribed(Connection& connection, std::string_view topic, ws_result result,
                  uint64_t id) override {
    connection.send_text("subscribed " + std::string(topic) + " " + std::to_string(result) + " " +
                         std::to_string(id));
  }
  void gap(Connection& connection, std::string_view topic) override {
    connection.send_text("gap " + std::string(topic));
  }

  void close(Connection& connection, uint16_t, std::string_view, bool) override {
    Handle handle = *connection.data<Handle>();
    if (connection.subscribe("a") != WS_CLOSED || handle.subscribe("a") != WS_CLOSED ||
        handle.unsubscribe("a") != WS_CLOSED)
      websocket::log(WS_ERROR, "it subscribes in close");
    std::lock_guard hold(of_others);
    a_closed_one = connection.get();
  }

  static void say(Connection& connection, ws_result result) {
    connection.send_text("result " + std::to_string(result));
  }
};

}  // namespace

WEBSOCKET_HANDLER(TopicsSdk)
