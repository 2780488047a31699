// Topics: whoever connects gets what is published to a topic, and may publish. The topic is the
// path below the location, or ?topic=:
//
//     <Location /chat>
//         WebSocketHandler topics
//         WebSocketParam publish on
//         WebSocketParam history 50
//     </Location>
//
// Messages pass as they are; or, for clients that ask for the subprotocol topics.v1, in envelopes
// of JSON, and then a client may subscribe to any number of topics (docs/topics.md). Parameters:
//
//     publish off|on|TOPICS   who may publish: nobody, all, or all to these topics (default: off)
//     subscribe off|on|TOPICS which topics may be subscribed to (default: on); who may only
//                             publish to a topic connects and gets nothing
//     history N               new clients get so many of the last publications first (default: 0)
//     gap ignore|close        close: a client that reads too slowly for the topic's history, and
//                             does not speak topics.v1, is closed with 1013 (default: ignore)
//
// TOPICS are separated by blanks; * stands for any characters, {user} for the authenticated user.
#include <mod_websocket/handler.h>

#include <charconv>
#include <stdexcept>

#ifdef WEBSOCKET_JSON
#include "topics/talk.h"
constexpr bool kHasJson = true;
#else
#include "topics/no_talk.h"
constexpr bool kHasJson = false;
#endif
using topics::Talk;

uint64_t history_of(std::string_view text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > 1'000'000)
    throw std::invalid_argument("history is a number of publications from 0 to 1000000, not \"" +
                                std::string(text) + "\"");
  return number;
}

bool closes_on_gap(std::string_view text) {
  if (text != "ignore" && text != "close")
    throw std::invalid_argument("gap is ignore or close, not \"" + std::string(text) + "\"");
  return text == "close";
}

struct Topics : websocket::Handler {
  explicit Topics(const websocket::Config& config)
      : publish("publish", config.param("publish").value_or("off")),
        subscribe("subscribe", config.param("subscribe").value_or("on")),
        history(history_of(config.param("history").value_or("0"))),
        close_on_gap(closes_on_gap(config.param("gap").value_or("ignore"))) {}

  int handshake(websocket::Request& request) override {
    std::string_view topic = request.path_below();
    if (topic.starts_with('/')) topic.remove_prefix(1);
    if (topic.empty()) topic = request.parameter("topic").value_or("");
    if (kHasJson && request.accept_subprotocol("topics.v1")) {
      request.set_note(topic);
      return 0;
    }
    if (topic.empty())
      return reject(request, 400, "a topic is missing: name it behind the path, or by ?topic=\n");
    if (!topics::is_topic(topic))
      return reject(request, 400, "a topic is UTF-8 of 1 to 255 bytes\n");
    bool publishes = publish.allow(topic, request.user());
    bool subscribes = subscribe.allow(topic, request.user());
    if (!publishes && !subscribes)
      return reject(request, 403, "not allowed to subscribe to this topic\n");
    request.set_note((publishes ? "+" : "-") + std::string(subscribes ? "+" : "-") +
                     std::string(topic));
    return 0;
  }

  void open(websocket::Connection& connection) override {
    std::string_view note = connection.note().value_or("");
    if (connection.subprotocol())
      return connection.emplace<Talk>(publish, subscribe).open(connection, note, history);
    if (note[1] == '+')
      close_without_room(connection, connection.subscribe(note.substr(2), {.last = history}));
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    if (auto* talk = connection.data<Talk>()) return talk->message(connection, message);
    std::string_view note = connection.note().value_or("--");
    if (note[0] != '+') {
      connection.close(1008, "not allowed to publish to this topic");
      return;
    }
    ws_result result = websocket::publish(note.substr(2), message);
    if (result == WS_LIMIT) connection.close(1009, "too big to be published");
    else if (result < 0) connection.close(1011, "could not be published");
  }

  void subscribed(websocket::Connection& connection, std::string_view topic, ws_result result,
                  uint64_t id) override {
    if (auto* talk = connection.data<Talk>())
      return talk->subscribed(connection, topic, result, id);
    close_without_room(connection, result);
  }

  void gap(websocket::Connection& connection, std::string_view topic) override {
    if (auto* talk = connection.data<Talk>()) return talk->gap(connection, topic);
    if (close_on_gap) connection.close(1013, "too slow");
  }

 private:
  static int reject(websocket::Request& request, int status, std::string_view why) {
    request.set_body("text/plain", why);
    return status;
  }
  static void close_without_room(websocket::Connection& connection, ws_result result) {
    if (result < 0 && result != WS_CLOSED) connection.close(1013, "no room for another subscriber");
  }

  const topics::Rules publish, subscribe;
  const uint64_t history;
  const bool close_on_gap;
};

WEBSOCKET_HANDLER(Topics)
