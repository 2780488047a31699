#include <random>

#include "src/pubsub/local_bus.h"
#include "tests/unit/hub_support.h"

namespace mws::test {
namespace {

// Random use over the local bus, against a map that knows who should get what.
TEST(HubRandom, EverybodyGetsEachPublicationOnceAndInOrder) {
  for (unsigned seed = 1; seed <= 30; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    TopicMemory memory(
        {.ring_bytes = 16 << 10, .history_bytes = 1 << 20, .topics = 16, .seats = 2});
    auto topics = memory.topics({.count = 100000, .bytes = 1 << 20});
    LocalBus bus(*topics);
    Loop loop(4096);
    Hub hub(bus, [&]() -> Loop& { return loop; });
    std::vector<std::unique_ptr<Subscribed>> all;
    for (int i = 0; i < 8; i++) all.push_back(std::make_unique<Subscribed>(loop, hub));
    struct Published {
      uint64_t id;
      std::string text;
    };
    std::map<std::string, std::vector<Published>> model;
    std::vector<std::map<std::string, bool>> subscribed(all.size());
    std::vector<std::map<std::string, Events>> expected(all.size());
    int number = 0, steps = 0;
    auto publish = [&](const std::string& topic) {
      // More in a row than the ring holds is caught up with.
      for (unsigned count = random() % 50 ? 1 + random() % 5 : 500; count; count--) {
        std::string text = topic + " " + std::to_string(number++);
        uint64_t id = 0;
        bus.any_thread_publish(publication(topic, text),
                               [&](const Bus::Receipt& receipt) { id = receipt.id; });
        model[topic].push_back({id, text});
        for (size_t i = 0; i < all.size(); i++)
          if (subscribed[i][topic]) expected[i][topic].push_back("text " + text);
      }
    };
    auto subscribe = [&](size_t i, const std::string& topic) {
      if (subscribed[i][topic]) return;
      const auto& known = model[topic];
      SubscribeFrom from;
      size_t first = known.size();
      if (!known.empty() && random() % 2) {
        size_t after = random() % known.size();
        from.since = known[after].id;
        first = after + 1;
      } else if (random() % 2) {
        from.last = random() % 10;
        first = known.size() - std::min<size_t>(known.size(), from.last);
      }
      ASSERT_TRUE(all[i]->subscribe(topic, from));
      subscribed[i][topic] = true;
      for (; first < known.size(); first++)
        expected[i][topic].push_back("text " + known[first].text);
    };
    int next = 100;  // turn
    run(loop, [&](int turn) {
      if (turn < next || steps > 150) return;
      if (steps++ == 150) return loop.any_thread_stop(kCloseGoingAway, 1000);
      std::string topic = "topic " + std::to_string(random() % 5);
      size_t i = random() % all.size();
      if (steps % 10 == 9) {
        next = turn + 200;  // for all that is under way
      } else if (steps % 10 == 0) {
        all[i]->subscriber->loop_unsubscribe(topic);
        subscribed[i][topic] = false;
      } else {
        next = turn + int(random() % 4);
        if (random() % 2) publish(topic);
        else subscribe(i, topic);
        if (steps >= 149) next = turn + 200;
      }
    });
    for (size_t i = 0; i < all.size(); i++) {
      std::map<std::string, Events> got;
      for (const std::string& frame : all[i]->got())
        got[frame.substr(5, frame.rfind(' ') - 5)].push_back(frame);
      std::erase_if(expected[i], [](const auto& each) { return each.second.empty(); });
      ASSERT_EQ(got, expected[i]) << i;
      for (const std::string& event : all[i]->told)
        ASSERT_FALSE(event.starts_with("gap ")) << event;
    }
  }
}

}  // namespace
}  // namespace mws::test
