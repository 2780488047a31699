// What the tests of the hub share: connections with subscribers, on a loop of their own, and a bus
// that answers when it is told to.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "src/pubsub/hub.h"
#include "tests/unit/engine_support.h"
#include "tests/unit/topics_support.h"

namespace mws::test {

// Keeps what it is asked for, for the test to answer.
class ScriptedBus final : public Bus {
 public:
  BusListener* listener = nullptr;
  std::map<std::string, int> subscribers;
  bool has_room = true;
  struct Asked {
    std::string topic;
    uint64_t since;
    uint32_t last;
    std::function<void(Fetched)> answer;
  };
  std::deque<Asked> asked;

  void publishes(std::string_view topic, uint64_t id, std::string_view text) {
    Publication made = publication(topic, text);
    made.id = id;
    listener->on_publication(made);
  }
  void batch_ends() { listener->on_batch_end(); }
  // Answers the query that was asked first.
  void answers(Fetched fetched) {
    Asked first = std::move(asked.front());
    asked.pop_front();
    first.answer(std::move(fetched));
  }

  bool any_thread_listen(Loop&, BusListener& to) override {
    listener = &to;
    return true;
  }
  Outcome any_thread_publish(const Publication&, Received) override { return Outcome::published; }
  bool any_thread_subscribe(std::string_view topic) override {
    if (has_room) subscribers[std::string(topic)]++;
    return has_room;
  }
  void any_thread_unsubscribe(std::string_view topic) override {
    EXPECT_GE(--subscribers[std::string(topic)], 0);
  }
  void any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) override {
    asked.push_back({std::string(query.topic), query.since, query.last, std::move(answer)});
  }
  void any_thread_state(std::string_view,
                        std::function<void(const SharedTopics::State&)>) override {}
  void any_thread_clear(std::string_view, std::function<void(Outcome)>) override {}
  void finish(uint64_t) override {}
};

inline Fetched fetched(std::vector<std::pair<uint64_t, std::string>> entries, uint64_t last_id,
                       bool gap = false, bool more = false) {
  Fetched made;
  for (auto& [id, text] : entries)
    made.entries.push_back({id, {}, Opcode::text, true, {text.begin(), text.end()}});
  made.last_id = last_id;
  made.gap = gap;
  made.more = more;
  return made;
}

// A client, its connection's endpoint, and its subscriptions. Events beside those of Log:
// "subscribed a 7", "gap a".
class Subscribed final : private SubscriberEvents {
 public:
  Subscribed(Loop& loop, Hub& hub, std::function<void(Subscribed&)> on_open = {}) {
    behave(client);
    log.then_on_open = [this, &hub, on_open](Connection& connection) {
      SubscriberEvents& events = *this;
      subscriber = std::make_unique<Subscriber>(hub, connection, events);
      if (on_open) on_open(*this);
    };
    log.then_on_close = [this](Connection&) { subscriber.reset(); };
    log.then_on_drained = [this](Connection&) {
      if (subscriber) subscriber->loop_drained();
    };
    adopt(loop, client, log);
  }

  Client client;
  Log log;
  std::unique_ptr<Subscriber> subscriber;  // while it is open
  Events told;
  std::function<void(const std::string&)> then;

  bool subscribe(std::string_view topic, const SubscribeFrom& from = {}, size_t most = 100) {
    return subscriber->loop_subscribe(topic, from, most);
  }
  // What was sent to it so far, but for close frames.
  Events got() const {
    Events all = client.frames();
    std::erase_if(all, [](const std::string& each) { return each.starts_with("close "); });
    return all;
  }

 private:
  void on_subscribed(std::string_view topic, uint64_t id) noexcept override {
    tell("subscribed " + std::string(topic) + " " + std::to_string(id));
  }
  void on_gap(std::string_view topic) noexcept override { tell("gap " + std::string(topic)); }
  void tell(const std::string& event) {
    told.push_back(event);
    if (then) then(event);
  }
};

}  // namespace mws::test
