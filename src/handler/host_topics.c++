// The functions of the host for topics, and what a connection has of them.
#include <cstring>
#include <string>

#include "src/handler/handler.h"
#include "src/handler/host_support.h"
#include "src/handler/topics.h"

namespace mws {

namespace {

static_assert(kMaxTopic == WS_MAX_TOPIC);

std::atomic<Hub*> hub_of_process = nullptr;

// What is wrong with a topic; or nullptr.
const char* wrong_with_topic(const char* topic, size_t size) {
  bool fine = topic && is_topic({topic, size});
  return fine ? nullptr : "a topic that is not UTF-8 of 1 to 255 bytes";
}

// The fields that a table of the caller's version has; those that are missing are 0.
template <class Table>
Table whole(const Table* given) {
  Table all{};
  if (given) memcpy(&all, given, std::min<size_t>(given->size, sizeof all));
  return all;
}

const char* wrong_with_subscription(const char* topic, size_t size, const ws_subscription& how) {
  if (how.flags & ~WS_ENVELOPED) return "another flag than WS_ENVELOPED";
  return wrong_with_topic(topic, size);
}

SubscribeFrom subscribe_from(const ws_subscription& how) {
  return {how.since, uint32_t(std::min<uint64_t>(how.last, UINT32_MAX)),
          how.flags & WS_ENVELOPED ? Form::enveloped : Form::bare};
}

// On the connection's loop.
ws_result loop_subscribe(ws_connection& peer, std::string_view topic, const SubscribeFrom& from) {
  Hub* hub = process_hub();
  if (!hub || peer.ended) return hub ? WS_CLOSED : WS_NO_MEMORY;
  if (!peer.subscriptions())
    peer.make_rare().subscriptions = std::make_unique<Subscriptions>(*hub, peer);
  return peer.subscriptions()->loop_subscribe(topic, from) ? WS_OK : WS_LIMIT;
}

// From elsewhere.
ws_result soon_subscribe(Remote& remote, std::string_view topic, const SubscribeFrom& from) {
  bool on_its_way =
      remote.any_thread_post([name = std::string(topic), from](Connection& connection) {
        auto& peer = static_cast<ws_connection&>(*connection.attachment());
        ws_result result = loop_subscribe(peer, name, from);
        if (result < 0) peer.handler.tell_subscribed(connection, name, result, 0);
      });
  return on_its_way ? WS_OK : WS_CLOSED;
}

ws_result soon_unsubscribe(Remote& remote, std::string_view topic) {
  bool on_its_way = remote.any_thread_post([name = std::string(topic)](Connection& connection) {
    auto& peer = static_cast<ws_connection&>(*connection.attachment());
    if (peer.subscriptions()) peer.subscriptions()->loop_unsubscribe(name);
  });
  return on_its_way ? WS_OK : WS_CLOSED;
}

ws_result subscribe(ws_connection* connection, const char* topic, size_t topic_size,
                    const ws_subscription* how) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "subscribe");
  if (!peer) return WS_WRONG_THREAD;
  ws_subscription given = whole(how);
  if (const char* wrong = wrong_with_subscription(topic, topic_size, given))
    return mistake(peer, CALLER, "subscribe", wrong, WS_INVALID);
  std::string_view name(topic, topic_size);
  return or_no_memory([&] {
    return current_call.on_loop ? loop_subscribe(*peer, name, subscribe_from(given))
                                : soon_subscribe(*peer->remote(), name, subscribe_from(given));
  });
}

ws_result unsubscribe(ws_connection* connection, const char* topic, size_t topic_size) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "unsubscribe");
  if (!peer) return WS_WRONG_THREAD;
  if (const char* wrong = wrong_with_topic(topic, topic_size))
    return mistake(peer, CALLER, "unsubscribe", wrong, WS_INVALID);
  std::string_view name(topic, topic_size);
  return or_no_memory([&] {
    if (!current_call.on_loop) return soon_unsubscribe(*peer->remote(), name);
    if (peer->subscriptions()) peer->subscriptions()->loop_unsubscribe(name);
    return peer->ended ? WS_CLOSED : WS_OK;
  });
}

ws_result handle_subscribe(ws_handle handle, const char* topic, size_t topic_size,
                           const ws_subscription* how) noexcept {
  ws_subscription given = whole(how);
  if (const char* wrong = wrong_with_subscription(topic, topic_size, given))
    return mistake(nullptr, CALLER, "handle_subscribe", wrong, WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote) return WS_CLOSED;
  return or_no_memory([&] {
    return soon_subscribe(*remote, {topic, topic_size}, subscribe_from(given));
  });
}

ws_result handle_unsubscribe(ws_handle handle, const char* topic, size_t topic_size) noexcept {
  if (const char* wrong = wrong_with_topic(topic, topic_size))
    return mistake(nullptr, CALLER, "handle_unsubscribe", wrong, WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote) return WS_CLOSED;
  return or_no_memory([&] { return soon_unsubscribe(*remote, {topic, topic_size}); });
}

ws_result result_of(Bus::Outcome outcome) {
  switch (outcome) {
    case Bus::Outcome::published: return WS_OK;
    case Bus::Outcome::local_only: return WS_LOCAL_ONLY;
    case Bus::Outcome::too_big: break;
  }
  return WS_LIMIT;
}

const char* wrong_with_publication(const char* topic, size_t topic_size, ws_type type,
                                   const void* data, size_t size, uint32_t flags) {
  if (flags & ~(WS_UNCOMPRESSED | WS_TRANSIENT))
    return "another flag than WS_UNCOMPRESSED and WS_TRANSIENT";
  if (const char* wrong = wrong_with_topic(topic, topic_size)) return wrong;
  if (const char* wrong = wrong_with(type, data, size, 0)) return wrong;
  return type == WS_TEXT && !is_utf8(bytes_from(data, size)) ? kNotUtf8 : nullptr;
}

ws_result publish(const ws_host*, const char* topic, size_t topic_size, ws_type type,
                  const void* data, size_t size, const ws_publishing* how) noexcept {
  ws_publishing given = whole(how);
  if (const char* wrong = wrong_with_publication(topic, topic_size, type, data, size, given.flags))
    return mistake(nullptr, CALLER, "publish", wrong, WS_INVALID);
  Hub* hub = process_hub();
  if (!hub) return mistake(nullptr, CALLER, "publish", "the server does not serve yet", WS_INVALID);
  Publication publication;
  publication.topic = {topic, topic_size};
  publication.type = Opcode(type);
  publication.may_compress = !(given.flags & WS_UNCOMPRESSED);
  publication.kept = !(given.flags & WS_TRANSIENT);
  publication.payload = bytes_from(data, size);
  Bus::Received received;
  if (given.done)
    received = [given](const Bus::Receipt& receipt) {
      ws_published published{sizeof published, result_of(receipt.outcome), receipt.id,
                             receipt.subscribers};
      if (receipt.outcome != Bus::Outcome::too_big) given.done(given.context, &published);
    };
  return or_no_memory(
      [&] { return result_of(hub->bus().any_thread_publish(publication, std::move(received))); });
}

}  // namespace

Hub* process_hub() { return hub_of_process; }
void set_process_hub(Hub* hub) { hub_of_process = hub; }

Subscriptions::Subscriptions(Hub& hub, ws_connection& peer)
    : peer_(peer), subscriber_(hub, *peer.connection, *this) {}

bool Subscriptions::loop_subscribe(std::string_view topic, const SubscribeFrom& from) {
  return subscriber_.loop_subscribe(topic, from, peer_.handler.max_subscriptions());
}

void Subscriptions::on_subscribed(std::string_view topic, uint64_t id) noexcept {
  peer_.handler.tell_subscribed(*peer_.connection, topic, WS_OK, id);
}

void Subscriptions::on_gap(std::string_view topic) noexcept {
  peer_.handler.tell_gap(*peer_.connection, topic);
}

void add_topic_functions(ws_host& host) {
  host.subscribe = subscribe;
  host.unsubscribe = unsubscribe;
  host.handle_subscribe = handle_subscribe;
  host.handle_unsubscribe = handle_unsubscribe;
  host.publish = publish;
}

}  // namespace mws
