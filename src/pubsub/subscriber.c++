// One connection's side of the hub.
#include <algorithm>

#include "src/pubsub/hub_parts.h"

namespace mws {

Subscriber::Subscriber(Hub& hub, Connection& connection, SubscriberEvents& events)
    : hub_(hub),
      connection_(connection),
      events_(events),
      index_(hub.index_of(connection.loop())) {}

Subscriber::~Subscriber() {
  for (auto& [name, subscription] : subscriptions_) end(*subscription);
  if (place_in_batch_ != SIZE_MAX) index_->batch[place_in_batch_] = nullptr;
  hub_.forget_if_unused(index_);
}

bool Subscriber::loop_subscribe(std::string_view name, const SubscribeFrom& from, size_t most) {
  if (subscriptions_.contains(name)) return true;
  if (subscriptions_.size() >= most || !hub_.any_thread_listen()) return false;
  auto& topic = index_->topics[std::string(name)];
  if (!topic) topic = std::make_unique<Hub::LoopTopic>(std::string(name));
  auto made = std::make_unique<Subscription>(*this, *topic, from);
  Subscription& subscription = *made;
  subscription.place = topic->subscriptions.size();
  topic->subscriptions.push_back(&subscription);
  // From here on publications are heard of, so that none gets lost between the history and them.
  if (!topic->alive++) hub_.enter(index_, name);
  if (!hub_.bus().any_thread_subscribe(name)) {
    take_from_topic(subscription);
    return false;
  }
  subscriptions_.emplace(std::string(name), std::move(made));
  fetch(subscription);
  return true;
}

void Subscriber::loop_unsubscribe(std::string_view name) {
  auto found = subscriptions_.find(name);
  if (found == subscriptions_.end()) return;
  end(*found->second);
  subscriptions_.erase(found);
}

void Subscriber::end(Subscription& subscription) {
  hub_.bus().any_thread_unsubscribe(subscription.topic.name);
  index_->fetches.erase(subscription.fetch);
  for (auto& [pending, delivery] : pending_)
    if (pending == &subscription) pending = nullptr;
  take_from_topic(subscription);
}

void Subscriber::take_from_topic(Subscription& subscription) {
  Hub::LoopTopic& topic = subscription.topic;
  if (!--topic.alive) hub_.withdraw(*index_, topic.name);
  if (topic.in_use) {
    topic.subscriptions[subscription.place] = nullptr;
    return;
  }
  topic.subscriptions[subscription.place] = topic.subscriptions.back();
  topic.subscriptions[subscription.place]->place = subscription.place;
  topic.subscriptions.pop_back();
  if (!topic.alive) index_->topics.erase(topic.name);
}

// Its answer comes from outside of whatever happens now.
void Subscriber::fetch(Subscription& subscription) {
  subscription.state = Subscription::fetching;
  subscription.missed = false;
  uint64_t number = subscription.fetch = ++index_->last_fetch;
  index_->fetches.emplace(number, &subscription);
  constexpr size_t kAtOnce = 256 * 1024;  // bytes
  FetchQuery query{subscription.topic.name, subscription.since, subscription.first, kAtOnce,
                   subscription.provisional_since};
  auto answer = [&hub = hub_, number, there = std::weak_ptr(index_)](Fetched fetched) {
    hub.post(there, [number, fetched = std::move(fetched)](Hub::LoopIndex& index) {
      auto asked = index.fetches.find(number);
      if (asked == index.fetches.end()) return;
      Subscription& asking = *asked->second;
      index.fetches.erase(asked);
      asking.subscriber.loop_fetched(asking, fetched);
    });
  };
  hub_.bus().any_thread_fetch(query, std::move(answer));
}

void Subscriber::loop_fetched(Subscription& subscription, const Fetched& fetched) {
  connection_.run([&] { take_fetched(subscription, fetched); });
}

void Subscriber::take_fetched(Subscription& subscription, const Fetched& fetched) {
  const std::string name = subscription.topic.name;
  uint64_t fetch_number = subscription.fetch;
  if (fetched.gap) {
    events_.on_gap(name);
    auto still = subscriptions_.find(name);  // it may have ended the subscription
    if (still == subscriptions_.end() || still->second->fetch != fetch_number) return;
  }
  SendResult result = send_fetched(subscription, fetched);
  subscription.first = 0;
  if (fetched.more) {
    subscription.missed = true;
  } else {
    // From 1 on there is a last one, from which to go on.
    subscription.since = std::max({subscription.since, fetched.last_id, uint64_t(1)});
    subscription.live_from = std::max(subscription.live_from, fetched.last_id);
    subscription.provisional_since =
        std::max(subscription.provisional_since, fetched.last_provisional_id);
  }
  subscription.state = result == SendResult::high_water ? Subscription::behind : Subscription::live;
  if (!fetched.more) {
    subscription.held_bytes = 0;
    for (const auto& each : std::exchange(subscription.held, {})) deliver(subscription, each);
  }
  if (subscription.state != Subscription::live) return;
  if (subscription.missed) return fetch(subscription);
  if (std::exchange(subscription.told, true)) return;
  events_.on_subscribed(name, subscription.since);
}

SendResult Subscriber::send_fetched(Subscription& subscription, const Fetched& fetched) {
  SendResult result = SendResult::sent;
  for (const Fetched::Entry& entry : fetched.entries) {
    if (entry.provisional_id && entry.provisional_id <= subscription.provisional_since) {
      if (entry.id != entry.provisional_id) subscription.since = entry.id;
      continue;
    }
    Delivery delivery({.topic = subscription.topic.name,
                       .type = entry.type,
                       .may_compress = entry.may_compress,
                       .payload = entry.payload,
                       .origin = {},
                       .id = entry.id,
                       .provisional_id = entry.provisional_id});
    result = connection_.send(delivery.message(subscription.form));
    subscription.note_sent(delivery);
  }
  return result;
}

void Subscriber::deliver(Subscription& subscription,
                         const std::shared_ptr<const Delivery>& delivery) {
  if (delivery->provisional_id && delivery->provisional_id <= subscription.provisional_since)
    return;
  if (!delivery->is_provisional() && delivery->id <= subscription.live_from) return;
  if (subscription.state == Subscription::behind) {
    subscription.missed = true;
  } else if (subscription.state == Subscription::fetching) {
    if (subscription.held.size() < Subscription::kMostHeld &&
        subscription.held_bytes < Subscription::kMostHeldBytes && !subscription.missed) {
      subscription.held.push_back(delivery);
      subscription.held_bytes += delivery->bytes();
    } else {
      subscription.missed = true;
    }
  } else {
    SendResult result = connection_.send(delivery->message(subscription.form));
    subscription.note_sent(*delivery);
    if (result == SendResult::high_water) subscription.state = Subscription::behind;
  }
}

void Subscriber::loop_drained() {
  for (auto& [name, subscription] : subscriptions_) {
    if (subscription->state != Subscription::behind) continue;
    if (subscription->missed) fetch(*subscription);
    else subscription->state = Subscription::live;
  }
}

}  // namespace mws
