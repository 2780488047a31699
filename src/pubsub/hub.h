// Who has subscribed to what in this process. The hub hears publications from the bus, and sees to
// it that every subscriber gets each of its topics' publications once and in order, from the moment
// on that it has asked for: first out of the history, then as they come.
//
// Each loop delivers to its own connections. What was published within one turn of a loop leaves a
// connection in one write. A subscriber for which more than the connection's high water waits gets
// nothing more until it has read that; then it catches up out of the history. What is not kept
// there any more is a gap, which it is told. So nobody is delayed by a slow one, and nothing of it
// fills the memory.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/engine/loop.h"
#include "src/pubsub/bus.h"
#include "src/pubsub/by_topic.h"
#include "src/pubsub/delivery.h"

namespace mws {

class Subscriber;

class Hub final : private BusListener {
 public:
  // bus_loop gives the loop for the bus, which outlives the hub's use; it is asked for with the
  // first subscriber.
  Hub(Bus& bus, std::function<Loop&()> bus_loop) : bus_(bus), bus_loop_(std::move(bus_loop)) {}
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  Bus& bus() { return bus_; }  // to publish, from any thread

 private:
  friend class Subscriber;
  struct Subscription;
  struct LoopTopic;
  struct LoopIndex;
  using LoopIndexes = std::vector<std::shared_ptr<LoopIndex>>;

  void on_publication(const Publication& publication) override;
  void on_batch_end() override;
  void on_missed(std::string_view topic) override;

  void note(const std::shared_ptr<LoopIndex>& index);
  bool any_thread_listen();
  std::shared_ptr<LoopIndex> index_of(Loop& loop);
  void enter(const std::shared_ptr<LoopIndex>& index, std::string_view topic);
  void withdraw(LoopIndex& index, std::string_view topic);
  void forget_if_unused(const std::shared_ptr<LoopIndex>& index);
  template <class Work>
  void post(const std::weak_ptr<LoopIndex>& index, Work work);

  void loop_deliver(LoopIndex& index);
  void loop_deliver_one(LoopIndex& index, const std::shared_ptr<const Delivery>& delivery);
  void loop_deliver_some(LoopIndex& index,
                         std::span<const std::shared_ptr<const Delivery>> deliveries);
  void loop_deliver_many(LoopIndex& index,
                         std::span<const std::shared_ptr<const Delivery>> deliveries);
  void loop_catch_up(LoopIndex& index, std::string_view topic);

  Bus& bus_;
  const std::function<Loop&()> bus_loop_;
  std::mutex lock_;
  bool listens_ = false;                             // from here on under lock_
  ByTopic<LoopIndexes> loops_;                       // that have subscribers of a topic
  std::vector<std::shared_ptr<LoopIndex>> indexes_;  // of all loops that have subscribers
  LoopIndexes got_some_;                             // in this batch
};

// How a subscription begins.
struct SubscribeFrom {
  // With all that was published after this id; or, with 0, with the last `last` publications.
  uint64_t since = 0;
  uint32_t last = 0;
  Form form = Form::bare;
};

// What a subscriber is told, on the connection's loop.
class SubscriberEvents {
 public:
  // What was asked for of the history has been sent, and from now on publications come as they are
  // made. To come back later: since the last that came, or this id.
  virtual void on_subscribed(std::string_view topic, uint64_t id) noexcept = 0;
  // What was published between what was sent and what will be is not kept any more.
  virtual void on_gap(std::string_view topic) noexcept = 0;

 protected:
  ~SubscriberEvents() = default;
};

// The subscriptions of one connection. On its loop's thread, while it is open. Events do not come
// from inside of calls; they may make calls.
class Subscriber {
 public:
  Subscriber(Hub& hub, Connection& connection, SubscriberEvents& events);
  ~Subscriber();  // ends all of its subscriptions

  // on_subscribed follows. False if there is no room for another topic or subscription, of which
  // this one may have `most`. To a topic that it has subscribed to, nothing changes. Throws
  // std::bad_alloc.
  bool loop_subscribe(std::string_view topic, const SubscribeFrom& from, size_t most);
  void loop_unsubscribe(std::string_view topic);
  // Nothing waits any more to be sent.
  void loop_drained();

 private:
  friend class Hub;
  using Subscription = Hub::Subscription;

  using Pending = std::pair<Subscription*, const std::shared_ptr<const Delivery>*>;

  void fetch(Subscription& subscription);
  void ask(Subscription& subscription);
  static void ask_next(Hub::LoopIndex& index);
  void loop_fetched(Subscription& subscription, const Fetched& fetched);
  void take_fetched(Subscription& subscription, const Fetched& fetched);
  SendResult send_fetched(Subscription& subscription, const Fetched& fetched);
  void deliver(Subscription& subscription, const std::shared_ptr<const Delivery>& delivery);
  void end(Subscription& subscription);
  void leave_batch() {
    place_in_batch_ = SIZE_MAX;
    std::vector<Pending>().swap(pending_);
  }
  void take_from_topic(Subscription& subscription);

  Hub& hub_;
  Connection& connection_;
  SubscriberEvents& events_;
  const std::shared_ptr<Hub::LoopIndex> index_;
  ByTopic<std::unique_ptr<Subscription>> subscriptions_;
  std::vector<Pending> pending_;  // while many are delivered
  size_t place_in_batch_ = SIZE_MAX;
};

}  // namespace mws
