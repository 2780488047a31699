#include "src/pubsub/hub.h"

#include <algorithm>
#include <system_error>

#include "src/pubsub/hub_parts.h"

namespace mws {

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
      if (index->loop.is_this_thread()) {
        here = index;
      } else if (!index->posted) {
        index->loop.any_thread_post([this, index] { loop_deliver(*index); });
        index->posted = true;
      }
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
  struct Batch {
    ~Batch() {
      for (Subscriber* each : subscribers)
        if (each) each->leave_batch();
      subscribers.clear();
    }
    std::vector<Subscriber*>& subscribers;
  } batch{index.batch};
  for (const auto& delivery : deliveries) {
    auto topic = index.topics.find(delivery->topic);
    if (topic == index.topics.end()) continue;
    for (Subscription* subscription : topic->second->subscriptions) {
      Subscriber& subscriber = subscription->subscriber;
      if (subscriber.place_in_batch_ == SIZE_MAX) {
        index.batch.push_back(&subscriber);
        subscriber.place_in_batch_ = index.batch.size() - 1;
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
    if (std::exchange(index.batch[i], nullptr)) subscriber->leave_batch();  // or that ended it
  }
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
  try {
    if (!listens_) listens_ = bus_.any_thread_listen(bus_loop_(), *this);
  } catch (const std::system_error&) {
    return false;  // no room for the loop
  }
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

}  // namespace mws
