// Topics as handlers know them: a connection's subscriptions, and the hub of this process.
#pragma once
#include <memory>
#include <string_view>

#include "src/pubsub/hub.h"

struct ws_connection;

namespace mws {

// The process's, which outlives all connections; nullptr before it serves, or without memory for
// it.
Hub* process_hub();
// Once, by the layer above when the child begins, before it has other threads and connections. The
// hub is never freed.
void set_process_hub(Hub* hub);

// Hands what happens to a connection's subscriptions to its handler. The connection's loop's.
class Subscriptions final : private SubscriberEvents {
 public:
  // Throws std::bad_alloc.
  Subscriptions(Hub& hub, ws_connection& peer);
  // False if a limit is reached. Throws std::bad_alloc.
  bool loop_subscribe(std::string_view topic, const SubscribeFrom& from);
  void loop_unsubscribe(std::string_view topic) { subscriber_.loop_unsubscribe(topic); }
  void loop_drained() { subscriber_.loop_drained(); }

 private:
  void on_subscribed(std::string_view topic, uint64_t id) noexcept override;
  void on_gap(std::string_view topic) noexcept override;

  ws_connection& peer_;
  Subscriber subscriber_;
};

}  // namespace mws
