// A client that speaks the subprotocol topics.v1 (docs/topics.md): one socket, many topics.
#pragma once
#include <mod_websocket/handler.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "envelope.h"

namespace topics {

// Of one connection, inside of its callbacks.
class Talk {
 public:
  Talk(const Rules& publish, const Rules& subscribe) : publish_(publish), subscribe_(subscribe) {}

  // To the topic of the address, of which there may be none.
  void open(websocket::Connection& connection, std::string_view topic, uint64_t history) {
    if (topic.empty()) return;
    if (!is_topic(topic)) return complain(connection, kBadRequest, kNoTopic);
    Envelope envelope;
    envelope.topic = topic;
    envelope.last = history;
    subscribe(connection, envelope);
  }

  void message(websocket::Connection& connection, websocket::Message message) {
    Parsed parsed;
    if (message.binary) parsed.error = "messages of topics.v1 are texts";
    else parsed = parse(message.data);
    if (parsed.error) {
      if (++wrong_ == kMostWrong) connection.close(1008, "too many wrong messages in a row");
      else complain(connection, kBadRequest, parsed.error, parsed.envelope);
    } else {
      wrong_ = 0;
      switch (parsed.envelope.type) {
        case Envelope::Type::subscribe: subscribe(connection, parsed.envelope); break;
        case Envelope::Type::unsubscribe: unsubscribe(connection, parsed.envelope); break;
        case Envelope::Type::publish: publish(connection, parsed.envelope); break;
      }
    }
  }

  void subscribed(websocket::Connection& connection, std::string_view topic, ws_result result,
                  uint64_t id) {
    auto known = topics_.find(topic);
    if (known == topics_.end()) return;  // on workers it may have unsubscribed meanwhile
    if (result == WS_OK) {
      say(connection, {{"type", "subscribed"}, {"topic", topic}, {"id", id}});
    } else {
      topics_.erase(known);
      refuse(connection, result, Envelope{.topic = std::string(topic)});
    }
  }

  void gap(websocket::Connection& connection, std::string_view topic) {
    say(connection, {{"type", "gap"}, {"topic", topic}});
  }

 private:
  using Json = nlohmann::ordered_json;
  static constexpr const char* kBadRequest = "bad-request";
  static constexpr const char* kNoTopic = "the topic is not UTF-8 of 1 to 255 bytes";
  static constexpr unsigned kMostWrong = 100;

  static void say(websocket::Connection& connection, const Json& json) {
    connection.send_text(json.dump());
  }

  static Json error(const char* code, const char* message, const Envelope& about) {
    Json json = {{"type", "error"}, {"code", code}, {"message", message}};
    if (!about.topic.empty()) json["topic"] = about.topic;
    if (!about.ref.is_null()) json["ref"] = about.ref;
    return json;
  }
  static void complain(websocket::Connection& connection, const char* code, const char* message,
                       const Envelope& about = {}) {
    say(connection, error(code, message, about));
  }
  static void refuse(websocket::Connection& connection, ws_result why, const Envelope& about) {
    if (why == WS_CLOSED) return;
    if (why == WS_LIMIT) complain(connection, "limit", "no room for another subscription", about);
    else complain(connection, "failed", "the server could not subscribe", about);
  }

  void subscribe(websocket::Connection& connection, const Envelope& envelope) {
    const std::string& topic = envelope.topic;
    if (!subscribe_.allow(topic, connection.user()))
      return complain(connection, "forbidden", "not allowed to subscribe to this topic", envelope);
    if (!topics_.insert(topic).second)
      return complain(connection, kBadRequest, "subscribed to this topic already", envelope);
    websocket::Subscription how{.last = envelope.last.value_or(0), .enveloped = true};
    // All since 0 is all that there is: no id is lower than 1.
    if (envelope.since) how.since = std::max<uint64_t>(*envelope.since, 1);
    ws_result result = connection.subscribe(topic, how);
    if (result == WS_OK) return;
    topics_.erase(topic);
    refuse(connection, result, envelope);
  }

  void unsubscribe(websocket::Connection& connection, const Envelope& envelope) {
    topics_.erase(envelope.topic);
    connection.unsubscribe(envelope.topic);
    say(connection, {{"type", "unsubscribed"}, {"topic", envelope.topic}});
  }

  void publish(websocket::Connection& connection, const Envelope& envelope) {
    if (!publish_.allow(envelope.topic, connection.user()))
      return complain(connection, "forbidden", "not allowed to publish to this topic", envelope);
    websocket::Message message{envelope.data, envelope.binary};
    ws_result result = WS_OK;
    if (envelope.ref.is_null()) {
      result = websocket::publish(envelope.topic, message, {.transient = envelope.transient});
    } else {
      auto now = std::make_shared<Now>();
      result = websocket::publish(envelope.topic, message, {.transient = envelope.transient},
                                  Receipt{connection.handle(), envelope.topic, envelope.ref, now});
      now->is_over = true;
      if (!now->answer.empty()) connection.send_text(now->answer);
    }
    if (result >= 0) return;
    if (result == WS_LIMIT)
      complain(connection, "too-big", "the message is too big to be published", envelope);
    else complain(connection, "failed", "the server could not publish", envelope);
  }

  // An answer that comes before publish returns is sent by it: so it leaves with the message, even
  // where the connection closes after it.
  struct Now {
    const std::thread::id thread = std::this_thread::get_id();
    bool is_over = false;  // the thread's
    std::string answer;
  };

  // The answer to a publish with a ref.
  struct Receipt {
    void operator()(const ws_published& published) const {
      Json json = {{"type", "published"}, {"topic", topic}, {"id", published.id}};
      if (published.result == WS_LOCAL_ONLY) json["local"] = true;
      json["ref"] = ref;
      if (now->thread == std::this_thread::get_id() && !now->is_over) now->answer = json.dump();
      else to.send_text(json.dump());
    }
    websocket::Handle to;
    std::string topic;
    nlohmann::json ref;
    std::shared_ptr<Now> now;
  };

  const Rules& publish_;
  const Rules& subscribe_;
  std::set<std::string, std::less<>> topics_;  // it has subscribed to, or asked for
  unsigned wrong_ = 0;                         // in a row
};

}  // namespace topics
