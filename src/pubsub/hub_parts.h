// What the sources of the hub share, and nobody else needs.
#pragma once
#include "src/pubsub/hub.h"

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
  std::vector<Subscriber*> batch;  // who gets something of what is delivered now; or nullptr
  // Few fetches are under way at a time, as each may bring a lot; the numbers of the others.
  static constexpr size_t kMostAsked = 16;
  size_t asked = 0;
  std::deque<uint64_t> waiting;
  uint64_t last_fetch = 0;

  LoopTopic& topic(std::string_view name) {
    auto& found = topics[std::string(name)];
    if (!found) found = std::make_unique<LoopTopic>(std::string(name));
    return *found;
  }

  // Under the hub's lock:
  size_t subscribers = 0;
  std::vector<std::shared_ptr<const Delivery>> inbox;
  std::vector<std::pair<size_t, std::string>> missed;  // topics, and what of the inbox comes before
  size_t inbox_bytes = 0;
  bool posted = false, overflowed = false;
};

// Work for the loop, if it still has subscribers.
template <class Work>
void Hub::post(const std::weak_ptr<LoopIndex>& index, Work work) {
  auto there = index.lock();
  if (!there) return;
  std::lock_guard hold(lock_);
  if (there->subscribers)
    there->loop.any_thread_post([there, work = std::move(work)]() mutable { work(*there); });
}

}  // namespace mws
