#include "src/pubsub/hub.h"

#include <algorithm>

namespace mws {

struct Hub::Subscription {
  enum State : uint8_t {
    fetching,  // asks for what was published since last_id
    live,
    behind,  // too much waits for the client: when that has been read, it fetches
  };
  // Publications that came while it fetched: so many are kept until that is done, then it fetches
  // once more.
  static constexpr size_t kMostHeld = 256;
  static constexpr size_t kMostHeldBytes = 256 * 1024;

  Subscription(Subscriber& of, LoopTopic& to, const SubscribeFrom& from)
      : subscriber(of),
        topic(to),
        form(from.form),
        first(from.since ? 0 : from.last),
        since(from.since) {}

  void note_sent(const Delivery& sent) {
    uint64_t& position = sent.is_provisional() ? provisional_since : since;
    position = std::max(position, sent.id);
  }

  Subscriber& subscriber;
  LoopTopic& topic;
  size_t place = 0;  // in the topic's list
  const Form form;
  State state = fetching;
  bool told = false;               // on_subscribed was called
  bool missed = false;             // something passed by while it was not live
  uint32_t first;                  // how many of the history, at the beginning
  uint64_t since;                  // what was sent last, or what was asked for: there it goes on
  uint64_t live_from = 0;          // what came out of the history had ids up to this
  uint64_t provisional_since = 0;  // and of those with provisional ids, which go by these
  uint64_t fetch = 0;              // the number of the last one
  std::vector<std::shared_ptr<const Delivery>> held;
  size_t held_bytes = 0;
};

// A topic on one loop; the loop's.
struct Hub::LoopTopic {
  explicit LoopTopic(std::string of) : name(std::move(of)) {}
  const std::string name;
  std::vector<Subscription*> subscriptions;  // nullptr: it has ended while the list was in use
  size_t alive = 0;
  unsigned in_use = 0;
};

struct Hub::LoopIndex {
  explicit LoopIndex(Loop& of) : loop(of) {}
  // What came for this loop and has not been delivered. Beyond it is dropped: then all of the
  // loop's subscriptions catch up.
  static constexpr size_t kMostBytes = 64 << 20;

  Loop& loop;
  ByTopic<std::unique_ptr<LoopTopic>> topics;  // the loop's
  std::unordered_map<uint64_t, Subscription*> fetches;
  std::vector<Subscriber*> batch;  // who gets something of what is delivered now
  uint64_t last_fetch = 0;

  // Under the hub's lock:
  size_t subscribers = 0;
  std::vector<std::shared_ptr<const Delivery>> inbox;
  std::vector<std::pair<size_t, std::string>> missed;  // topics, and what of the inbox comes before
  size_t inbox_bytes = 0;
  bool posted = false, overflowed = false;
};

// --- From the bus ---

void Hub::on_publication(const Publication& publication) {
  std::lock_guard hold(lock_);
  auto found = loops_.find(publication.topic);
  if (found == loops_.end()) return;
  auto delivery = std::make_shared<const Delivery>(publication);
  for (const auto& index : found->second) {
    note(index);
    if (index->inbox_bytes > LoopIndex::kMostBytes) {
      index->overflowed = true;
      continue;
    }
    index->inbox.push_back(delivery);
    index->inbox_bytes += delivery->bytes() + sizeof(Delivery);
  }
}

void Hub::on_batch_end() {
  std::shared_ptr<LoopIndex> here;
  {
    std::lock_guard hold(lock_);
    for (auto& index : got_some_) {
      if (index->loop.is_this_thread()) here = index;
      else if (!std::exchange(index->posted, true))
        index->loop.any_thread_post([this, index] { loop_deliver(*index); });
    }
    got_some_.clear();
  }
  if (here) loop_deliver(*here);
}

void Hub::on_missed(std::string_view topic) {
  {
    std::lock_guard hold(lock_);
    for (auto& index : indexes_) {
      note(index);
      index->missed.emplace_back(index->inbox.size(), std::string(topic));
    }
  }
  on_batch_end();
}

// That it gets something in this batch. With lock_.
void Hub::note(const std::shared_ptr<LoopIndex>& index) {
  if (!index->posted && index->inbox.empty() && index->missed.empty()) got_some_.push_back(index);
}

// --- Delivering, on the loop's thread ---

void Hub::loop_deliver(LoopIndex& index) {
  std::vector<std::shared_ptr<const Delivery>> inbox;
  std::vector<std::pair<size_t, std::string>> missed;
  {
    std::lock_guard hold(lock_);
    inbox.swap(index.inbox);
    missed.swap(index.missed);
    index.inbox_bytes = 0;
    index.posted = false;
    if (std::exchange(index.overflowed, false)) missed.emplace_back(inbox.size(), "");
  }
  std::span<const std::shared_ptr<const Delivery>> rest(inbox);
  for (const auto& [before, topic] : missed) {
    loop_deliver_some(index, rest.first(before - (inbox.size() - rest.size())));
    rest = std::span(inbox).subspan(before);
    loop_catch_up(index, topic);
  }
  loop_deliver_some(index, rest);
}

void Hub::loop_deliver_some(LoopIndex& index,
                            std::span<const std::shared_ptr<const Delivery>> deliveries) {
  try {
    if (deliveries.size() == 1) loop_deliver_one(index, deliveries[0]);
    else loop_deliver_many(index, deliveries);
  } catch (const std::bad_alloc&) {
    loop_catch_up(index, "");
  }
}

namespace {

// Keeps the places of a list, to which subscriptions are added, and from which they are taken, by
// what happens meanwhile.
template <class Index, class Topic>
class InUse {
 public:
  InUse(Index& index, Topic& topic) : index_(index), topic_(topic) { topic_.in_use++; }
  ~InUse() {
    if (--topic_.in_use) return;
    if (!topic_.alive) {
      index_.topics.erase(index_.topics.find(topic_.name));
    } else if (topic_.alive < topic_.subscriptions.size()) {
      std::erase(topic_.subscriptions, nullptr);
      for (size_t i = 0; i < topic_.subscriptions.size(); i++) topic_.subscriptions[i]->place = i;
    }
  }

 private:
  Index& index_;
  Topic& topic_;
};

}  // namespace

void Hub::loop_deliver_one(LoopIndex& index, const std::shared_ptr<const Delivery>& delivery) {
  auto found = index.topics.find(delivery->topic);
  if (found == index.topics.end()) return;
  LoopTopic& topic = *found->second;
  InUse in_use(index, topic);
  for (size_t i = 0, count = topic.subscriptions.size(); i < count; i++)
    if (Subscription* to = topic.subscriptions[i])
      to->subscriber.connection_.run([to, &delivery] { to->subscriber.deliver(*to, delivery); });
}

// So that what is for one connection leaves in one write.
void Hub::loop_deliver_many(LoopIndex& index,
                            std::span<const std::shared_ptr<const Delivery>> deliveries) {
  for (const auto& delivery : deliveries) {
    auto topic = index.topics.find(delivery->topic);
    if (topic == index.topics.end()) continue;
    for (Subscription* subscription : topic->second->subscriptions) {
      Subscriber& subscriber = subscription->subscriber;
      if (subscriber.place_in_batch_ == SIZE_MAX) {
        subscriber.place_in_batch_ = index.batch.size();
        index.batch.push_back(&subscriber);
      }
      subscriber.pending_.emplace_back(subscription, &delivery);
    }
  }
  for (size_t i = 0; i < index.batch.size(); i++) {
    Subscriber* subscriber = index.batch[i];
    if (!subscriber) continue;
    subscriber->connection_.run([subscriber] {
      for (auto [subscription, delivery] : subscriber->pending_)
        if (subscription) subscriber->deliver(*subscription, *delivery);
    });
    if (!index.batch[i]) continue;  // that ended it
    subscriber->place_in_batch_ = SIZE_MAX;
    std::vector<Subscriber::Pending>().swap(subscriber->pending_);
  }
  index.batch.clear();
}

void Hub::loop_catch_up(LoopIndex& index, std::string_view name) {
  for (auto& [topic_name, topic] : index.topics)
    if (name.empty() || topic_name == name)
      for (Subscription* each : topic->subscriptions) {
        each->missed = true;
        if (each->state == Subscription::live) each->subscriber.fetch(*each);
      }
}

// --- Which loops want what ---

bool Hub::any_thread_listen() {
  std::lock_guard hold(lock_);
  if (!listens_) listens_ = bus_.any_thread_listen(bus_loop_(), *this);
  return listens_;
}

std::shared_ptr<Hub::LoopIndex> Hub::index_of(Loop& loop) {
  std::lock_guard hold(lock_);
  for (const auto& each : indexes_)
    if (&each->loop == &loop) {
      each->subscribers++;
      return each;
    }
  auto index = std::make_shared<LoopIndex>(loop);
  indexes_.push_back(index);
  index->subscribers++;
  return index;
}

// With its last subscriber: the loop may end from then on.
void Hub::forget_if_unused(const std::shared_ptr<LoopIndex>& index) {
  std::lock_guard hold(lock_);
  if (--index->subscribers) return;
  std::erase(indexes_, index);
  std::erase(got_some_, index);
}

void Hub::enter(const std::shared_ptr<LoopIndex>& index, std::string_view topic) {
  std::lock_guard hold(lock_);
  loops_[std::string(topic)].push_back(index);
}

void Hub::withdraw(LoopIndex& index, std::string_view topic) {
  std::lock_guard hold(lock_);
  auto found = loops_.find(topic);
  if (found == loops_.end()) return;
  std::erase_if(found->second, [&](const auto& each) { return each.get() == &index; });
  if (found->second.empty()) loops_.erase(found);
}

// Work for the loop, if it still has subscribers.
template <class Work>
void Hub::post(const std::weak_ptr<LoopIndex>& index, Work work) {
  auto there = index.lock();
  if (!there) return;
  std::lock_guard hold(lock_);
  if (there->subscribers)
    there->loop.any_thread_post([there, work = std::move(work)]() mutable { work(*there); });
}

// --- One connection ---

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
  SendResult result = SendResult::sent;
  for (const Fetched::Entry& entry : fetched.entries) {
    if (entry.provisional_id && entry.provisional_id <= subscription.provisional_since) {
      if (entry.id != entry.provisional_id) subscription.since = entry.id;
      continue;
    }
    Delivery delivery({.topic = name,
                       .type = entry.type,
                       .may_compress = entry.may_compress,
                       .payload = entry.payload,
                       .origin = {},
                       .id = entry.id,
                       .provisional_id = entry.provisional_id});
    result = connection_.send(delivery.message(subscription.form));
    subscription.note_sent(delivery);
  }
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
