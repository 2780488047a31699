// Subscribes and publishes as its client says: "VERB A B N TOPICDATA", where the topic has N bytes.
//
//     subscribe SINCE LAST    unsubscribe 0 0
//     publish TRANSIENT 0     is answered, by the id that it got
//     post TRANSIENT BINARY   is not
//
// Publications come enveloped (topics.v1); what else happens is told in the same way.
#include <mod_websocket/handler.h>

#include <cstdio>
#include <string>

namespace {

struct Bus : websocket::Handler {
  void message(websocket::Connection& connection, websocket::Message message) override {
    std::string text(message.data);
    char verb[16] = "";
    unsigned long long a = 0, b = 0, size = 0;
    int begin = 0;
    if (sscanf(text.c_str(), "%15s %llu %llu %llu%n", verb, &a, &b, &size, &begin) != 4) return;
    std::string topic = text.substr(size_t(begin) + 1, size);
    std::string data = text.substr(size_t(begin) + 1 + size);
    std::string what = verb;
    if (what == "subscribe") {
      ws_result result = connection.subscribe(topic, {.since = a, .last = b, .enveloped = true});
      if (result < 0) tell(connection.handle(), "refused", result, 0, 0);
    } else if (what == "unsubscribe") {
      connection.unsubscribe(topic);
    } else if (what == "post") {
      websocket::publish(topic, {data, b != 0}, {.transient = a != 0});
    } else if (what == "publish") {
      websocket::publish(topic, {data, false}, {.transient = a != 0},
                         [to = connection.handle()](const ws_published& published) {
                           tell(to, "published", published.result, published.id,
                                published.subscribers);
                         });
    }
  }
  void subscribed(websocket::Connection& connection, std::string_view, ws_result result,
                  uint64_t id) override {
    tell(connection, "subscribed", result, id, 0);
  }
  void gap(websocket::Connection& connection, std::string_view) override {
    tell(connection, "gap", 0, 0, 0);
  }
  template <class To>
  static void tell(To&& to, const char* what, int result, uint64_t id,
                   uint64_t subscribers) {
    char text[200];
    snprintf(text, sizeof text,
             "{\"type\":\"%s\",\"result\":%d,\"id\":%llu,\"subscribers\":%llu}", what, result,
             static_cast<unsigned long long>(id), static_cast<unsigned long long>(subscribers));
    to.send_text(text);
  }
};

}  // namespace

WEBSOCKET_HANDLER(Bus)
