#include "tests/unit/hub_support.h"

namespace mws::test {
namespace {

struct HubTest : testing::Test {
  Loop loop{4096};
  ScriptedBus bus;
  Hub hub{bus, [this]() -> Loop& { return loop; }};
  std::vector<std::function<void()>> steps;

  // One step each few turns of the loop; then all connections are closed.
  void play() {
    run(loop, [this, step = size_t(0)](int turn) mutable {
      if (turn % 8) return;
      if (step < steps.size()) steps[step++]();
      else loop.any_thread_stop(kCloseGoingAway, 1000);
    });
  }
  void then(std::function<void()> step) { steps.push_back(std::move(step)); }
};

TEST_F(HubTest, ASubscriberGetsTheHistoryThenWhatIsPublished) {
  Subscribed one(loop, hub,
                 [](Subscribed& self) { EXPECT_TRUE(self.subscribe("a", {.last = 5})); });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u);
    EXPECT_EQ(bus.asked[0].topic, "a");
    EXPECT_EQ(bus.asked[0].since, 0u);
    EXPECT_EQ(bus.asked[0].last, 5u);
    EXPECT_EQ(bus.subscribers["a"], 1);
    EXPECT_EQ(one.told, Events{});
    bus.answers(fetched({{3, "three"}, {4, "four"}}, 4));
  });
  then([&] {
    EXPECT_EQ(one.told, Events{"subscribed a 4"});
    bus.publishes("a", 5, "five");
    bus.publishes("b", 6, "of another topic");
    bus.batch_ends();
  });
  then([&] { EXPECT_EQ(one.got(), (Events{"text three", "text four", "text five"})); });
  play();
  EXPECT_EQ(bus.subscribers["a"], 0);
}

TEST_F(HubTest, WhatIsPublishedInOneTurnLeavesInOneWrite) {
  Subscribed one(loop, hub, [](Subscribed& self) {
    self.subscribe("a");
    self.subscribe("b");
  });
  then([&] {
    bus.answers(fetched({}, 0));
    bus.answers(fetched({}, 0));
  });
  size_t before = 0;
  then([&] {
    before = one.client.writes.size();
    bus.publishes("a", 1, "1");
    bus.publishes("b", 2, "2");
    bus.publishes("a", 3, "3");
    bus.batch_ends();
  });
  then([&] {
    EXPECT_EQ(one.got(), (Events{"text 1", "text 2", "text 3"}));
    EXPECT_EQ(one.client.writes.size(), before + 1);
  });
  play();
}

TEST_F(HubTest, WhatComesWhileTheHistoryIsFetchedComesBehindItAndOnce) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a", {.since = 2}); });
  then([&] {
    for (uint64_t id : {4u, 5u, 6u}) bus.publishes("a", id, std::to_string(id));
    bus.batch_ends();
  });
  then([&] {
    EXPECT_EQ(one.got(), Events{});
    EXPECT_EQ(bus.asked.at(0).since, 2u);
    bus.answers(fetched({{3, "3"}, {4, "4"}, {5, "5"}}, 5));
  });
  then([&] {
    EXPECT_EQ(one.got(), (Events{"text 3", "text 4", "text 5", "text 6"}));
    EXPECT_EQ(one.told, Events{"subscribed a 6"});
    EXPECT_TRUE(bus.asked.empty());
  });
  play();
}

TEST_F(HubTest, MoreThanIsHeldMeanwhileIsFetchedInTurn) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a"); });
  then([&] {
    for (uint64_t id = 1; id <= 1000; id++) bus.publishes("a", id, std::to_string(id));
    bus.batch_ends();
  });
  then([&] { bus.answers(fetched({}, 0)); });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u);
    uint64_t since = bus.asked[0].since;
    EXPECT_GT(since, 100u);
    EXPECT_LT(since, 1000u);
    EXPECT_EQ(one.told, Events{}) << "not yet";
    Fetched rest = fetched({}, 1000);
    for (uint64_t id = since + 1; id <= 1000; id++) {
      std::string text = std::to_string(id);
      rest.entries.push_back({id, {}, Opcode::text, true, {text.begin(), text.end()}});
    }
    bus.answers(std::move(rest));
  });
  then([&] {
    Events all;
    for (int id = 1; id <= 1000; id++) all.push_back("text " + std::to_string(id));
    EXPECT_EQ(one.got(), all);
    EXPECT_EQ(one.told, Events{"subscribed a 1000"});
  });
  play();
}

TEST_F(HubTest, AFetchThatHasMoreGoesOn) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a", {.last = 9}); });
  then([&] { bus.answers(fetched({{1, "1"}, {2, "2"}}, 3, false, true)); });
  then([&] {
    EXPECT_EQ(one.told, Events{});
    EXPECT_EQ(bus.asked.at(0).since, 2u);
    EXPECT_EQ(bus.asked.at(0).last, 0u);
    bus.answers(fetched({{3, "3"}}, 3));
  });
  then([&] { EXPECT_EQ(one.got(), (Events{"text 1", "text 2", "text 3"})); });
  play();
}

TEST_F(HubTest, AGapIsToldBeforeWhatFollows) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a", {.since = 1}); });
  one.then = [&](const std::string& event) {
    if (event == "gap a") {
      EXPECT_EQ(one.got(), Events{});
    }
  };
  then([&] { bus.answers(fetched({{8, "8"}}, 8, true)); });
  then([&] {
    EXPECT_EQ(one.told, (Events{"gap a", "subscribed a 8"}));
    EXPECT_EQ(one.got(), Events{"text 8"});
  });
  play();
}

TEST_F(HubTest, ASlowSubscriberDelaysNobodyAndCatchesUp) {
  Subscribed slow(loop, hub, [](Subscribed& self) { self.subscribe("a"); });
  Subscribed quick(loop, hub, [](Subscribed& self) { self.subscribe("a"); });
  std::string big(Connection::kHighWater / 2 + 1, 'x');
  then([&] {
    bus.answers(fetched({}, 0));
    bus.answers(fetched({}, 0));
  });
  then([&] {
    slow.client.room = 0;
    for (uint64_t id = 1; id <= 6; id++) {
      bus.publishes("a", id, std::to_string(id) + big);
      bus.batch_ends();
    }
  });
  then([&] {
    EXPECT_EQ(quick.got().size(), 6u);
    EXPECT_EQ(slow.got().size(), 0u);
    EXPECT_LT(slow.log.connection->buffered_amount(), 2 * big.size() + 100) << "two are too much";
    EXPECT_TRUE(bus.asked.empty()) << "there is no room for more";
    slow.client.room = kUnlimited;
    slow.client.sends(text("to be awake"));
  });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u);
    EXPECT_EQ(bus.asked[0].since, 2u);
    bus.publishes("a", 7, "7");
    bus.batch_ends();
    bus.answers(fetched({{5, "5"}, {6, "6"}}, 6, true));
  });
  then([&] {
    Events got = slow.got();
    ASSERT_EQ(got.size(), 5u);
    EXPECT_EQ((Events{got[2], got[3], got[4]}), (Events{"text 5", "text 6", "text 7"}));
    EXPECT_EQ(slow.told, (Events{"subscribed a 1", "gap a"}));
    bus.publishes("a", 8, "8");
    bus.batch_ends();
  });
  then([&] { EXPECT_EQ(slow.got().back(), "text 8"); });
  play();
}

TEST_F(HubTest, ASlowSubscriberThatMissedNothingJustGoesOn) {
  Subscribed slow(loop, hub, [](Subscribed& self) { self.subscribe("a"); });
  then([&] { bus.answers(fetched({}, 0)); });
  then([&] {
    slow.client.room = 0;
    bus.publishes("a", 1, std::string(Connection::kHighWater + 1, 'x'));
    bus.batch_ends();
  });
  then([&] {
    slow.client.room = kUnlimited;
    slow.client.sends(text("awake"));
  });
  then([&] {
    EXPECT_TRUE(bus.asked.empty());
    bus.publishes("a", 2, "2");
    bus.batch_ends();
  });
  then([&] { EXPECT_EQ(slow.got().back(), "text 2"); });
  play();
}

TEST_F(HubTest, ASubscriberThatIsSlowFromTheBeginningIsToldThatItHasSubscribed) {
  Subscribed slow(loop, hub, [](Subscribed& self) { self.subscribe("a", {.last = 1}); });
  slow.client.room = 0;
  then([&] { bus.answers(fetched({{1, std::string(Connection::kHighWater + 1, 'x')}}, 1)); });
  then([&] {
    EXPECT_EQ(slow.told, Events{});
    slow.client.room = kUnlimited;
    slow.client.sends(text("awake"));
  });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u);
    bus.answers(fetched({}, 1));
  });
  then([&] { EXPECT_EQ(slow.told, Events{"subscribed a 1"}); });
  play();
}

TEST_F(HubTest, ManyTopicsTogetherKeepToTheBoundOfOneConnection) {
  Subscribed slow(loop, hub, [](Subscribed& self) {
    for (const char* topic : {"a", "b", "c"}) self.subscribe(topic, {.last = 1});
  });
  slow.client.room = 0;
  std::string big(Connection::kHighWater * 2 / 3, 'x');
  then([&] {
    for (int i = 0; i < 3; i++) bus.answers(fetched({{1, big}}, 1));
  });
  then([&] {
    EXPECT_LT(slow.log.connection->buffered_amount(), 2 * big.size() + 100);
    slow.client.room = kUnlimited;
    slow.client.sends(text("awake"));
  });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 2u) << "one that has not come, one that is not known to stand";
    while (!bus.asked.empty()) bus.answers(fetched({{1, bus.asked[0].topic == "c" ? big : ""}}, 1));
  });
  then([&] { EXPECT_EQ(slow.told.size(), 3u); });
  play();
}

TEST_F(HubTest, WhoeverMissesSomethingCatchesUp) {
  Subscribed one(loop, hub, [](Subscribed& self) {
    self.subscribe("a");
    self.subscribe("b");
  });
  then([&] {
    bus.answers(fetched({}, 5));
    bus.answers(fetched({}, 6));
  });
  then([&] { bus.listener->on_missed("b"); });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u);
    EXPECT_EQ(bus.asked[0].topic, "b");
    EXPECT_EQ(bus.asked[0].since, 6u);
    bus.listener->on_missed("");
  });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 2u) << "b fetches already";
    EXPECT_EQ(bus.asked[1].topic, "a");
    bus.answers(fetched({{7, "of b"}}, 7));
    bus.answers(fetched({}, 7));
  });
  then([&] {
    ASSERT_EQ(bus.asked.size(), 1u) << "it missed something while it fetched";
    EXPECT_EQ(bus.asked[0].since, 7u);
    bus.answers(fetched({}, 7));
  });
  then([&] { EXPECT_EQ(one.got(), Events{"text of b"}); });
  play();
}

TEST_F(HubTest, TopicsMayBeLeftAndEnteredFromEverywhere) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a", {.since = 1}); });
  Subscribed two(loop, hub, [](Subscribed& self) { self.subscribe("b"); });
  one.then = [&](const std::string& event) {
    if (event != "gap a") return;
    one.subscriber->loop_unsubscribe("a");
    two.subscriber->loop_unsubscribe("b");
    one.subscribe("b", {.since = 9});
  };
  then([&] {
    bus.answers(fetched({{5, "not wanted any more"}}, 5, true));
    bus.answers(fetched({}, 5));
  });
  then([&] {
    EXPECT_EQ(bus.subscribers["a"], 0);
    EXPECT_EQ(bus.subscribers["b"], 1);
    ASSERT_EQ(bus.asked.size(), 1u);
    bus.answers(fetched({{10, "10"}}, 10));
    bus.publishes("a", 11, "nobody");
    bus.publishes("b", 12, "12");
    bus.batch_ends();
  });
  then([&] {
    EXPECT_EQ(one.got(), (Events{"text 10", "text 12"}));
    EXPECT_EQ(two.got(), Events{});
    one.subscriber->loop_unsubscribe("unknown");
    EXPECT_TRUE(one.subscribe("b")) << "again: nothing changes";
    EXPECT_EQ(bus.subscribers["b"], 1);
  });
  play();
}

// What happens to a connection while something is delivered to all may end others.
TEST_F(HubTest, SubscribersMayEndWhileTheyAreServed) {
  std::vector<std::unique_ptr<Subscribed>> all;
  for (int i = 0; i < 10; i++)
    all.push_back(std::make_unique<Subscribed>(loop, hub, [](Subscribed& self) {
      self.subscribe("a");
      self.subscribe("b");
    }));
  then([&] {
    EXPECT_EQ(bus.asked.size(), 16u) << "few ask at a time";
    while (!bus.asked.empty()) bus.answers(fetched({}, 0));
  });
  then([&] {
    EXPECT_EQ(bus.asked.size(), 4u);
    while (!bus.asked.empty()) bus.answers(fetched({}, 0));
  });
  then([&] {
    all[2]->client.failing_write = int(all[2]->client.writes.size()) + 1;
    all[4]->client.on_received = [&] {
      if (!all[6]->subscriber) return;
      all[5]->subscriber->loop_unsubscribe("a");
      all[3]->subscriber->loop_unsubscribe("a");
      all[4]->subscriber->loop_unsubscribe("a");
      all[6]->log.connection->abort();
    };
    bus.publishes("a", 1, "1");
    bus.batch_ends();
  });
  then([&] {
    EXPECT_FALSE(all[2]->subscriber);
    EXPECT_FALSE(all[6]->subscriber);
    EXPECT_EQ(all[5]->got(), Events{});
    EXPECT_EQ(all[9]->got(), Events{"text 1"});
    EXPECT_EQ(bus.subscribers["a"], 5);
    bus.publishes("a", 2, "2");
    bus.publishes("b", 3, "3");
    bus.batch_ends();
  });
  then([&] {
    EXPECT_EQ(all[9]->got(), (Events{"text 1", "text 2", "text 3"}));
    EXPECT_EQ(all[5]->got(), Events{"text 3"});
  });
  play();
  EXPECT_EQ(bus.subscribers["a"] + bus.subscribers["b"], 0);
}

TEST_F(HubTest, ALimitIsALimit) {
  Subscribed one(loop, hub, [&](Subscribed& self) {
    EXPECT_TRUE(self.subscribe("a", {}, 2));
    EXPECT_TRUE(self.subscribe("b", {}, 2));
    EXPECT_FALSE(self.subscribe("c", {}, 2));
    EXPECT_TRUE(self.subscribe("a", {}, 2));
    self.subscriber->loop_unsubscribe("a");
    bus.has_room = false;
    EXPECT_FALSE(self.subscribe("d", {}, 2));
    bus.has_room = true;
    EXPECT_TRUE(self.subscribe("d", {}, 2));
  });
  play();
  EXPECT_EQ(bus.asked.size(), 3u);
}

TEST_F(HubTest, AnAnswerForWhomeverIsGoneIsDropped) {
  Subscribed one(loop, hub, [](Subscribed& self) { self.subscribe("a"); });
  Subscribed two(loop, hub);
  then([&] { one.log.connection->abort(); });
  then([&] {
    bus.answers(fetched({{1, "1"}}, 1));
    EXPECT_FALSE(one.subscriber);
  });
  play();
  EXPECT_EQ(one.told, Events{});
}

TEST(HubEnvelope, CarriesTopicAndId) {
  EXPECT_EQ(envelope("a", 7, Opcode::text, bytes_of("x")),
            R"({"type":"message","topic":"a","id":7,"data":"x"})");
  EXPECT_EQ(envelope("\"\\\n\x01", 7, Opcode::text, bytes_of("caf\xc3\xa9\t")),
            "{\"type\":\"message\",\"topic\":\"\\\"\\\\\\n\\u0001\",\"id\":7,\"data\":"
            "\"caf\xc3\xa9\\t\"}");
  const char* const encoded[] = {"", "eA==", "eHk=", "eHl6"};
  for (size_t i = 0; i < 4; i++)
    EXPECT_EQ(envelope("a", 1, Opcode::binary, bytes_of(std::string_view("xyz").substr(0, i))),
              R"({"type":"message","topic":"a","id":1,"data":")" + std::string(encoded[i]) +
                  R"(","encoding":"base64"})");
}

}  // namespace
}  // namespace mws::test
