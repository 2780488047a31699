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
  Hub::LoopTopic& topic = index_->topic(name);
  auto [at, is_new] =
      subscriptions_.emplace(name, std::make_unique<Subscription>(*this, topic, from));
  try {
    topic.subscriptions.push_back(at->second.get());
  } catch (const std::bad_alloc&) {
    subscriptions_.erase(at);
    throw;
  }
  at->second->place = topic.subscriptions.size() - 1;
  topic.alive++;
  bool has_room = false;
  try {
    // From here on publications are heard of, so that none gets lost between the history and them.
    if (topic.alive == 1) hub_.enter(index_, name);
    has_room = hub_.bus().any_thread_subscribe(name);
  } catch (const std::bad_alloc&) {
    take_from_topic(*at->second);
    subscriptions_.erase(at);
    throw;
  }
  if (has_room) {
    fetch(*at->second);
  } else {
    take_from_topic(*at->second);
    subscriptions_.erase(at);
  }
  return has_room;
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

// Its answer comes from outside of whatever happens now. Without memory the connection ends.
void Subscriber::fetch(Subscription& subscription) {
  subscription.state = Subscription::fetching;
  subscription.missed = false;
  uint64_t number = subscription.fetch = ++index_->last_fetch;
  try {
    index_->fetches.emplace(number, &subscription);
    if (index_->asked >= Hub::LoopIndex::kMostAsked) index_->waiting.push_back(number);
    else ask(subscription);
  } catch (const std::bad_alloc&) {
    connection_.abort();
  }
}

void Subscriber::ask(Subscription& subscription) {
  uint64_t number = subscription.fetch;
  constexpr size_t kAtOnce = 256 * 1024;  // bytes
  FetchQuery query{subscription.topic.name, subscription.since, subscription.first, kAtOnce,
                   subscription.provisional_since};
  auto answer = [&hub = hub_, number, there = std::weak_ptr(index_)](Fetched fetched) {
    hub.post(there, [number, fetched = std::move(fetched)](Hub::LoopIndex& index) {
      index.asked--;
      auto asked = index.fetches.find(number);
      if (asked != index.fetches.end()) {
        Subscription& asking = *asked->second;
        index.fetches.erase(asked);
        asking.subscriber.loop_fetched(asking, fetched);
      }
      ask_next(index);
    });
  };
  index_->asked++;
  try {
    hub_.bus().any_thread_fetch(query, std::move(answer));
  } catch (const std::bad_alloc&) {
    index_->asked--;
    throw;
  }
}

// The next of those that wait to ask, and still want to.
void Subscriber::ask_next(Hub::LoopIndex& index) {
  while (!index.waiting.empty() && index.asked < Hub::LoopIndex::kMostAsked) {
    auto next = index.fetches.find(index.waiting.front());
    index.waiting.pop_front();
    if (next == index.fetches.end()) continue;
    Subscriber& asking = next->second->subscriber;
    try {
      asking.ask(*next->second);
    } catch (const std::bad_alloc&) {
      asking.connection_.abort();
    }
  }
}

void Subscriber::loop_fetched(Subscription& subscription, const Fetched& fetched) {
  connection_.run([&] { take_fetched(subscription, fetched); });
}

void Subscriber::take_fetched(Subscription& subscription, const Fetched& fetched) {
  if (connection_.buffered_amount() > connection_.high_water()) {  // other topics' fill it
    subscription.state = Subscription::behind;
    subscription.missed = true;
    return connection_.owe_drained();
  }
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
    // From 1 on there is a last one, from which to go on. Where the clock was set back, ids that
    // are to come are lower than the one that was asked for.
    subscription.since =
        fetched.last_id ? fetched.last_id : std::max<uint64_t>(subscription.since, 1);
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
    result = connection_.send(delivery.message(subscription.form), false);
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
    SendResult result = connection_.send(delivery->message(subscription.form), false);
    subscription.note_sent(*delivery);
    if (result == SendResult::high_water) subscription.state = Subscription::behind;
  }
}

void Subscriber::loop_drained() {
  for (auto& [name, subscription] : subscriptions_) {
    if (subscription->state != Subscription::behind) continue;
    if (subscription->missed || !subscription->told) fetch(*subscription);
    else subscription->state = Subscription::live;
  }
}

}  // namespace mws
