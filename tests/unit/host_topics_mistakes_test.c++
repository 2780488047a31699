// Mistakes with topics: refused, and logged with who made them; nothing else happens.
#include <gtest/gtest.h>

#include <thread>

#include "src/handler/topics.h"
#include "src/pubsub/local_bus.h"
#include "tests/unit/hooks_support.h"
#include "tests/unit/topics_support.h"

namespace mws {
namespace {

using namespace test;

std::string refusal(const std::string& function, const std::string& what) {
  return "error: /here: " + function + "() refused: " + what;
}
constexpr const char* kTopic = "a topic that is not UTF-8 of 1 to 255 bytes";

struct HostTopicsMistakesTest : testing::TestWithParam<int> {
  TopicMemory memory{{.ring_bytes = 65536, .history_bytes = 65536, .topics = 16, .seats = 2}};
  std::unique_ptr<SharedTopics> topics = memory.topics();
  LocalBus bus{*topics};
  Hooked hooked{GetParam()};
  const ws_host& host = hooked.host;

  // Calls inside of open, then closes.
  Events inside(std::function<void(ws_connection*)> call) {
    Client client;
    behave(client);
    hooked.then = [&](const Event& event) {
      if (event.callback != "open") return;
      call(event.connection);
      host.close(event.connection, 1000, nullptr, 0);
    };
    {
      Loop loop(4096);
      Hub hub(bus, [&]() -> Loop& { return loop; });
      set_process_hub(&hub);
      loop.any_thread_adopt(hooked.connection(client), {});
      run(loop);
      EXPECT_TRUE(hooked.handler->finish(600'000));
      set_process_hub(nullptr);
    }
    topics->leave(getpid());
    return client.frames();
  }
  ws_result publish(const char* topic, size_t size, ws_type type, const void* data,
                    size_t data_size, uint32_t flags = 0) {
    ws_publishing how{sizeof how, flags,
                      [](void*, const ws_published*) { ADD_FAILURE() << "it was published"; },
                      nullptr};
    return host.publish(&host, topic, size, type, data, data_size, &how);
  }
};
INSTANTIATE_TEST_SUITE_P(OnLoopOrWorkers, HostTopicsMistakesTest, testing::Values(0, 2));

TEST_P(HostTopicsMistakesTest, AreLoggedWithTheLocationAndWhatIsWrong) {
  std::string too_long(256, 'x');
  ws_subscription unknown{sizeof unknown, 2, 0, 0};
  EXPECT_EQ(inside([&](ws_connection* c) {
              ws_handle handle = host.handle(c);
              EXPECT_EQ(host.subscribe(c, nullptr, 3, nullptr), WS_INVALID);
              EXPECT_EQ(host.unsubscribe(c, "", 0), WS_INVALID);
              EXPECT_EQ(host.handle_subscribe(handle, "\xff", 1, nullptr), WS_INVALID);
              EXPECT_EQ(host.handle_unsubscribe(handle, too_long.data(), 256), WS_INVALID);
              EXPECT_EQ(host.subscribe(c, "a", 1, &unknown), WS_INVALID);
              EXPECT_EQ(host.handle_subscribe(handle, "a", 1, &unknown), WS_INVALID);
              EXPECT_EQ(publish(nullptr, 0, WS_TEXT, "x", 1), WS_INVALID);
              EXPECT_EQ(publish("a", 1, ws_type(0), "x", 1), WS_INVALID);
              EXPECT_EQ(publish("a", 1, WS_TEXT, nullptr, 1), WS_INVALID);
              EXPECT_EQ(publish("a", 1, WS_TEXT, "\xff", 1), WS_INVALID);
              EXPECT_EQ(publish("a", 1, WS_TEXT, "x", 1, 4), WS_INVALID);
            }),
            (Events{"close 1000"}));
  EXPECT_EQ(hooked.log.all,
            (Events{refusal("subscribe", kTopic), refusal("unsubscribe", kTopic),
                    refusal("handle_subscribe", kTopic), refusal("handle_unsubscribe", kTopic),
                    refusal("subscribe", "another flag than WS_ENVELOPED"),
                    refusal("handle_subscribe", "another flag than WS_ENVELOPED"),
                    refusal("publish", kTopic), refusal("publish", "neither WS_TEXT nor WS_BINARY"),
                    refusal("publish", "NULL with a size, or more bytes than there can be"),
                    refusal("publish", "a text that is not UTF-8"),
                    refusal("publish", "another flag than WS_UNCOMPRESSED and WS_TRANSIENT")}));
  EXPECT_EQ(topics->state("a").last_id, 0u);
}

TEST_P(HostTopicsMistakesTest, FromElsewhereNothingIsDone) {
  ws_connection* gone = nullptr;
  inside([&](ws_connection* c) {
    gone = c;
    std::thread([&] {
      EXPECT_EQ(host.subscribe(c, "a", 1, nullptr), WS_WRONG_THREAD);
      EXPECT_EQ(host.unsubscribe(c, "a", 1), WS_WRONG_THREAD);
    }).join();
  });
  EXPECT_EQ(host.subscribe(gone, "a", 1, nullptr), WS_WRONG_THREAD);
  EXPECT_EQ(host.unsubscribe(nullptr, "a", 1), WS_WRONG_THREAD);
  EXPECT_EQ(topics->state("a").subscribers, 0u);
}

TEST_P(HostTopicsMistakesTest, WhatIsNoMistakeIsAnsweredAndNotLogged) {
  ws_handle handle{};
  std::string big(16385, 'x');
  inside([&](ws_connection* c) {
    handle = host.handle(c);
    EXPECT_EQ(publish("a", 1, WS_TEXT, big.data(), big.size()), WS_LIMIT);
    EXPECT_EQ(host.unsubscribe(c, "never", 5), WS_OK);
    EXPECT_EQ(host.publish(&host, "a", 1, WS_TEXT, nullptr, 0, nullptr), WS_OK);
  });
  EXPECT_EQ(host.handle_subscribe(handle, "a", 1, nullptr), WS_CLOSED);
  EXPECT_EQ(host.handle_unsubscribe({0}, "a", 1), WS_CLOSED);
  EXPECT_TRUE(hooked.log.all.empty());
}

TEST_P(HostTopicsMistakesTest, BeforeTheServerServesNothingIsPublished) {
  EXPECT_EQ(publish("a", 1, WS_TEXT, "x", 1), WS_INVALID);
  EXPECT_EQ(topics->state("a").last_id, 0u);
}

}  // namespace
}  // namespace mws
