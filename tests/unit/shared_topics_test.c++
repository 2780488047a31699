#include <algorithm>
#include <map>
#include <random>

#include "tests/unit/topics_support.h"

namespace mws::test {
namespace {

const SharedTopics::Sizes kSmall{
    .ring_bytes = 64 << 10, .history_bytes = 256 << 10, .topics = 64, .seats = 8};

// What a reader finds, as "topic text".
Texts read_all(SharedTopics::Reader& reader, uint64_t* missed_in_all = nullptr) {
  Texts all;
  auto missed = [&](uint64_t count) {
    if (missed_in_all) *missed_in_all += count;
  };
  while (reader.read(missed, [&](const Publication& each) {
    all.push_back(std::string(each.topic) + " " + std::string(text_of(each.payload)));
  })) {
  }
  return all;
}

TEST(SharedTopics, WhatIsPublishedIsReadInOrderWhereThereIsASubscriber) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  ASSERT_TRUE(topics->enter());
  SharedTopics::Reader reader(*topics);
  EXPECT_EQ(topics->publish(publication("a", "for nobody")).subscribers, 0u);
  ASSERT_TRUE(topics->subscribe("a"));
  EXPECT_EQ(topics->publish(publication("a", "one")).subscribers, 1u);
  topics->publish(publication("b", "of another topic"));
  topics->publish(publication("a", ""));
  EXPECT_EQ(read_all(reader), (Texts{"a one", "a "}));
  topics->unsubscribe("a");
  topics->publish(publication("a", "for nobody"));
  EXPECT_EQ(read_all(reader), Texts{});
}

TEST(SharedTopics, EachPublicationKeepsAllThatItIs) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  ASSERT_TRUE(topics->enter());
  SharedTopics::Reader reader(*topics);
  std::string name(kMaxTopic, 't');
  ASSERT_TRUE(topics->subscribe(name));
  Publication sent = publication(name, std::string_view("\0\xff", 2));
  sent.type = Opcode::binary;
  sent.may_compress = false;
  sent.origin = {7, 8};
  uint64_t id = topics->publish(sent).id;
  EXPECT_TRUE(reader.read([](uint64_t) {},
                          [&](const Publication& got) {
                            EXPECT_EQ(got.topic, name);
                            EXPECT_EQ(got.type, Opcode::binary);
                            EXPECT_FALSE(got.may_compress);
                            EXPECT_EQ(got.origin.process, 7u);
                            EXPECT_EQ(got.origin.number, 8u);
                            EXPECT_EQ(got.id, id);
                            EXPECT_EQ(text_of(got.payload), std::string_view("\0\xff", 2));
                          }));
  Fetched fetched = topics->fetch({.topic = name, .last = 1});
  ASSERT_EQ(fetched.entries.size(), 1u);
  EXPECT_EQ(fetched.entries[0].id, id);
  EXPECT_EQ(fetched.entries[0].type, Opcode::binary);
  EXPECT_FALSE(fetched.entries[0].may_compress);
  EXPECT_EQ(fetched.entries[0].origin.number, 8u);
  EXPECT_EQ(texts(fetched), Texts{std::string("\0\xff", 2)});
}

TEST(SharedTopics, IdsGrowAndAreAtLeastWhatIsAskedFor) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  uint64_t before = topics->publish(publication("a", "")).id;
  for (int i = 0; i < 1000; i++) {
    uint64_t id = topics->publish(publication("a", "")).id;
    EXPECT_GT(id, before);
    before = id;
  }
  EXPECT_LT(before, uint64_t(1) << 53);
  EXPECT_EQ(topics->publish(publication("b", ""), before + 1'000'000'000).id,
            before + 1'000'000'000);
  EXPECT_EQ(topics->publish(publication("a", "")).id, before + 1'000'000'001);
}

TEST(SharedTopics, AReaderSleepsUntilSomethingForItsProcessIsPublished) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  ASSERT_TRUE(topics->enter());
  ASSERT_TRUE(topics->subscribe("a"));
  SharedTopics::Reader reader(*topics);
  uint64_t count;
  auto was_woken = [&] { return read(reader.descriptor(), &count, sizeof count) > 0; };
  topics->publish(publication("a", "1"));
  EXPECT_FALSE(was_woken()) << "it is awake";
  EXPECT_FALSE(reader.sleep()) << "there is something to read";
  EXPECT_TRUE(reader.read([](uint64_t) {}, [](const Publication&) {}));
  EXPECT_TRUE(reader.sleep());
  topics->publish(publication("b", "of no interest"));
  EXPECT_FALSE(was_woken());
  topics->publish(publication("a", "2"));
  topics->publish(publication("a", "3"));
  EXPECT_TRUE(was_woken());
  EXPECT_EQ(count, 1u) << "woken once";
}

TEST(SharedTopics, AReaderThatFallsBehindMissesACountedNumberAndNoWriterWaits) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  ASSERT_TRUE(topics->enter());
  ASSERT_TRUE(topics->subscribe("a"));
  SharedTopics::Reader reader(*topics);
  const int published = 5000;
  for (int i = 0; i < published; i++) topics->publish(publication("a", std::to_string(i)));
  uint64_t missed = 0;
  Texts rest = read_all(reader, &missed);
  EXPECT_GT(missed, 0u);
  EXPECT_EQ(missed + rest.size(), uint64_t(published));
  for (size_t i = 0; i < rest.size(); i++) EXPECT_EQ(rest[i], "a " + std::to_string(missed + i));
}

TEST(SharedTopics, PublicationsOfAnySizeGoRoundTheRing) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({.count = 1});
  ASSERT_TRUE(topics->enter());
  ASSERT_TRUE(topics->subscribe("a"));
  SharedTopics::Reader reader(*topics);
  std::minstd_rand random(1);
  for (int round = 0; round < 2000; round++) {
    std::string text(random() % topics->max_payload(), char('a' + round % 26));
    if (round % 10 == 0) text.resize(topics->max_payload());
    topics->publish(publication("a", text));
    EXPECT_EQ(read_all(reader), Texts{"a " + text}) << round;
    EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 9})), Texts{text}) << round;
  }
}

TEST(SharedTopics, TheHistoryGivesTheLastOrAllSinceAnId) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({.count = 5});
  std::vector<uint64_t> ids;
  uint64_t other = topics->publish(publication("other", "")).id;
  for (int i = 0; i < 8; i++)
    ids.push_back(topics->publish(publication("a", std::to_string(i))).id);
  EXPECT_EQ(texts(topics->fetch({.topic = "a"})), Texts{});
  EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 2})), (Texts{"6", "7"}));
  EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 99})), (Texts{"3", "4", "5", "6", "7"}));
  for (size_t i = 0; i < ids.size(); i++) {
    Fetched fetched = topics->fetch({.topic = "a", .since = ids[i]});
    EXPECT_EQ(fetched.gap, i < 2) << i;  // after the third nothing is missing
    Texts expected;
    for (size_t later = std::max<size_t>(i + 1, 3); later < ids.size(); later++)
      expected.push_back(std::to_string(later));
    EXPECT_EQ(texts(fetched), expected) << i;
    EXPECT_EQ(fetched.last_id, ids.back());
    EXPECT_FALSE(fetched.more);
  }
  EXPECT_TRUE(topics->fetch({.topic = "a", .since = other}).gap);
  EXPECT_TRUE(topics->fetch({.topic = "unknown", .since = 1}).gap)
      << "from before the server began";
  EXPECT_FALSE(topics->fetch({.topic = "a", .last = 1}).gap) << "nothing was known before";
}

TEST(SharedTopics, AFetchEndsWithItsBytesAndGoesOnFromThere) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  for (const char* text : {"12345", "123456", "1"}) topics->publish(publication("a", text));
  Fetched first = topics->fetch({.topic = "a", .last = 3, .max_bytes = 3});
  EXPECT_EQ(texts(first), Texts{"12345"}) << "one comes, whatever its size";
  EXPECT_TRUE(first.more);
  Fetched rest = topics->fetch({.topic = "a", .since = first.entries[0].id, .max_bytes = 7});
  EXPECT_EQ(texts(rest), (Texts{"123456", "1"}));
  EXPECT_FALSE(rest.more);
}

TEST(SharedTopics, TheHistoryIsLimitedByBytesAndAge) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({.count = 100, .bytes = 10});
  uint64_t first = topics->publish(publication("a", "1234")).id;
  topics->publish(publication("a", "5678"));
  topics->publish(publication("a", "90"));
  EXPECT_EQ(topics->fetch({.topic = "a", .last = 9}).entries.size(), 3u);
  topics->publish(publication("a", "x"));
  EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 9})), (Texts{"5678", "90", "x"}));
  uint64_t last = topics->publish(publication("a", "01234567890")).id;
  EXPECT_EQ(topics->fetch({.topic = "a", .last = 9}).entries.size(), 3u) << "too big to be kept";
  EXPECT_TRUE(topics->fetch({.topic = "a", .since = first}).gap);
  EXPECT_TRUE(topics->fetch({.topic = "a", .since = last - 1}).gap);
  EXPECT_FALSE(topics->fetch({.topic = "a", .since = last}).gap);

  // Ids are times: what is to come from the future is young, the rest too old for a moment's
  // history.
  auto short_lived = memory.topics({.count = 100, .bytes = 1000, .age_us = 1});
  EXPECT_EQ(texts(short_lived->fetch({.topic = "a", .last = 9})), Texts{});
  topics->publish(publication("a", "young"), last + 3'600'000'000);
  EXPECT_EQ(texts(short_lived->fetch({.topic = "a", .last = 9})), Texts{"young"});
}

TEST(SharedTopics, WhatIsTransientOrClearedIsNotKept) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  uint64_t first = topics->publish(publication("a", "kept")).id;
  topics->publish(publication("a", "transient", false));
  EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 9})), Texts{"kept"});
  EXPECT_FALSE(topics->fetch({.topic = "a", .since = first}).gap) << "nobody was to get it later";
  EXPECT_EQ(topics->state("a").kept, 1u);
  topics->clear_history("a");
  topics->clear_history("unknown");
  EXPECT_EQ(topics->state("a").kept, 0u);
  EXPECT_EQ(texts(topics->fetch({.topic = "a", .last = 9})), Texts{});
  EXPECT_TRUE(topics->fetch({.topic = "a", .since = first - 1}).gap);
}

TEST(SharedTopics, WithoutAHistoryAllThatIsMissedIsAGap) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({.count = 0});
  ASSERT_TRUE(topics->enter());
  ASSERT_TRUE(topics->subscribe("a"));
  uint64_t joined = topics->fetch({.topic = "a"}).last_id + 1;
  topics->publish(publication("a", "x"), joined + 1);
  EXPECT_TRUE(topics->fetch({.topic = "a", .since = joined}).gap);
}

TEST(SharedTopics, SubscribersAreCountedForEachTopicAndLimited) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({}, 3);
  EXPECT_FALSE(topics->subscribe("a")) << "without a seat";
  ASSERT_TRUE(topics->enter());
  EXPECT_TRUE(topics->subscribe("a"));
  EXPECT_TRUE(topics->subscribe("a"));
  EXPECT_TRUE(topics->subscribe("b"));
  EXPECT_FALSE(topics->subscribe("b"));
  EXPECT_EQ(topics->state("a").subscribers, 2u);
  EXPECT_EQ(topics->state("b").subscribers, 1u);
  EXPECT_EQ(topics->state("c").subscribers, 0u);
  topics->unsubscribe("a");
  topics->unsubscribe("unknown");
  EXPECT_TRUE(topics->subscribe("b"));
  EXPECT_EQ(topics->state("b").subscribers, 2u);
  topics->leave(getpid());
  EXPECT_EQ(topics->state("b").subscribers, 0u) << "it left";
  ASSERT_TRUE(topics->enter());
  EXPECT_EQ(topics->state("b").subscribers, 0u) << "whoever takes its seat begins anew";
}

TEST(SharedTopics, TopicsWithoutSubscribersMakeRoomForOthers) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics();
  ASSERT_TRUE(topics->enter());
  for (int i = 0; i < 60; i++) ASSERT_TRUE(topics->subscribe("held " + std::to_string(i)));
  uint64_t first = 0;
  for (int i = 0; i < 1000; i++) {
    uint64_t id = topics->publish(publication("idle " + std::to_string(i), "x")).id;
    if (!i) first = id;
  }
  EXPECT_EQ(texts(topics->fetch({.topic = "idle 999", .last = 1})), Texts{"x"});
  EXPECT_EQ(texts(topics->fetch({.topic = "idle 0", .last = 1})), Texts{});
  EXPECT_TRUE(topics->fetch({.topic = "idle 0", .since = first}).gap) << "it is forgotten";
  for (int i = 60; i < 64; i++) ASSERT_TRUE(topics->subscribe("held " + std::to_string(i)));
  EXPECT_FALSE(topics->subscribe("one too many"));
  EXPECT_EQ(topics->publish(publication("no room", "x")).subscribers, 0u);
  topics->unsubscribe("held 7");
  EXPECT_TRUE(topics->subscribe("one too many"));
}

TEST(SharedTopics, MemoryForHistoriesIsSharedAndTheOldestGoFirst) {
  TopicMemory memory(kSmall);
  auto topics = memory.topics({.count = 10000, .bytes = 1 << 20});
  std::string kilobyte(1000, 'x');
  uint64_t quiet = topics->publish(publication("quiet", "still here")).id;
  for (int i = 0; i < 1000; i++) topics->publish(publication("busy", kilobyte));
  EXPECT_EQ(texts(topics->fetch({.topic = "quiet", .since = quiet - 1})), Texts{"still here"});
  size_t kept = topics->fetch({.topic = "busy", .last = 10000}).entries.size();
  EXPECT_GT(kept, 200u);
  EXPECT_LT(kept, 256u);
  topics->publish(publication("other", std::string(200 << 10, 'y')));
  EXPECT_EQ(topics->fetch({.topic = "other", .last = 1}).entries.size(), 1u);
}

// Against a map that keeps everything.
TEST(SharedTopics, RandomUseAgreesWithANaiveModel) {
  for (unsigned seed = 1; seed <= 8; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    TopicMemory memory(kSmall);
    HistoryLimits limits{.count = uint32_t(1 + random() % 30), .bytes = 500 + random() % 20000};
    auto topics = memory.topics(limits);
    ASSERT_TRUE(topics->enter());
    SharedTopics::Reader reader(*topics);
    struct Kept {
      uint64_t id;
      std::string text;
    };
    std::map<std::string, std::vector<Kept>> model;
    std::map<std::string, uint64_t> subscribed, cleared;
    Texts in_ring;
    for (int step = 0; step < 3000; step++) {
      std::string topic = "topic " + std::to_string(random() % 20);
      switch (random() % 8) {
        case 0:
          ASSERT_TRUE(topics->subscribe(topic));
          subscribed[topic]++;
          break;
        case 1:
          topics->unsubscribe(topic);
          if (subscribed[topic]) subscribed[topic]--;
          break;
        case 2:
          if (random() % 20) break;
          topics->clear_history(topic);
          if (!model[topic].empty()) cleared[topic] = model[topic].back().id;
          break;
        case 3: {
          auto& all = model[topic];
          size_t first = all.size(), bytes = 0;
          uint64_t lost = cleared[topic];
          while (first && all.size() - (first - 1) <= limits.count && all[first - 1].id > lost &&
                 (bytes += all[first - 1].text.size()) <= limits.bytes)
            first--;
          uint64_t since = all.empty() ? 0 : all[random() % all.size()].id;
          Fetched fetched = topics->fetch({.topic = topic, .since = since});
          Texts expected;
          for (size_t i = first; i < all.size(); i++)
            if (all[i].id > since) expected.push_back(all[i].text);
          if (since) {
            ASSERT_EQ(texts(fetched), expected);
            ASSERT_EQ(fetched.gap, first && since < all[first - 1].id);
          }
          ASSERT_EQ(topics->state(topic).subscribers, subscribed[topic]);
          break;
        }
        default: {
          std::string text = std::to_string(step) + std::string(random() % 300, '.');
          auto [id, to] = topics->publish(publication(topic, text));
          ASSERT_EQ(to, subscribed[topic]);
          model[topic].push_back({id, text});
          if (to) in_ring.push_back(topic + " " + text);
        }
      }
      if (random() % 30 == 0) {
        ASSERT_EQ(read_all(reader), in_ring);
        in_ring.clear();
      }
    }
  }
}

}  // namespace
}  // namespace mws::test
