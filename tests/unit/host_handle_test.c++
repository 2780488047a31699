// Handles and buffers: what every thread may do at any time.
#include <gtest/gtest.h>

#include <latch>
#include <set>
#include <thread>

#include "tests/unit/hooks_support.h"

namespace mws {
namespace {

using namespace test;

struct HostHandleTest : testing::TestWithParam<int> {};  // of workers
INSTANTIATE_TEST_SUITE_P(OnLoopOrWorkers, HostHandleTest, testing::Values(0, 2));

void expect_gone(const ws_host& host, ws_handle handle) {
  EXPECT_EQ(host.handle_send(handle, WS_TEXT, "x", 1, 0), WS_CLOSED);
  EXPECT_EQ(host.handle_close(handle, 1000, nullptr, 0), WS_CLOSED);
  auto never = +[](ws_connection*, void*) { ADD_FAILURE(); };
  EXPECT_EQ(host.handle_post(handle, never, nullptr), WS_CLOSED);
  EXPECT_EQ(host.handle_buffered_amount(handle), 0u);
  EXPECT_FALSE(host.handle_is_open(handle));
  ws_buffer* buffer = host.buffer(&host, WS_TEXT, "x", 1, 0, nullptr, nullptr);
  EXPECT_EQ(host.handle_send_buffer(handle, buffer), WS_CLOSED);
  host.buffer_release(buffer);
}

TEST_P(HostHandleTest, SendInTheOrderOfTheirThreadAndCloseLast) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  constexpr int kMessages = 200;
  std::vector<std::thread> threads;
  std::latch sent(2);
  ws_handle handle{};
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    handle = hooked.host.handle(event.connection);
    EXPECT_EQ(handle.id, hooked.host.handle(event.connection).id);
    for (std::string name : {"a", "b"})
      threads.emplace_back([&, name] {
        for (int i = 0; i < kMessages; i++) {
          std::string message = name + std::to_string(i);
          EXPECT_TRUE(hooked.host.handle_is_open(handle));
          EXPECT_GE(hooked.host.handle_send(handle, WS_TEXT, message.data(), message.size(), 0),
                    WS_OK);
        }
        sent.arrive_and_wait();
        if (name == "b") return;
        EXPECT_EQ(hooked.host.handle_close(handle, 4000, "done", 4), WS_OK);
        EXPECT_EQ(hooked.host.handle_send(handle, WS_TEXT, "late", 4, 0), WS_CLOSED);
        EXPECT_EQ(hooked.host.handle_close(handle, 4000, "done", 4), WS_CLOSED);
        EXPECT_FALSE(hooked.host.handle_is_open(handle));
      });
  };
  hooked.talk(client);
  for (auto& thread : threads) thread.join();
  Events frames = client.frames();
  ASSERT_EQ(frames.size(), 2u * kMessages + 1);
  EXPECT_EQ(frames.back(), "close 4000 done");
  std::map<char, int> next;
  for (const std::string& frame : frames)
    if (frame.starts_with("text ")) {
      EXPECT_EQ(frame.substr(6), std::to_string(next[frame[5]]++));
    }
  expect_gone(hooked.host, handle);
}

TEST_P(HostHandleTest, NameNoOtherConnectionEverAgain) {
  Hooked hooked(GetParam());
  std::mutex lock;
  std::set<uint64_t> ids;  // under lock
  hooked.then = [&](const Event& event) {
    if (event.callback != "close") return;
    std::lock_guard hold(lock);
    ids.insert(hooked.host.handle(event.connection).id);
  };
  for (int i = 0; i < 20; i++) {
    Client client;
    behave(client);
    client.sends(close_frame(1000));
    Loop loop(4096);
    loop.any_thread_adopt(hooked.connection(client), {});
    run(loop);
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  EXPECT_EQ(ids.size(), 20u);
  EXPECT_FALSE(ids.contains(0));
  for (uint64_t id : ids) expect_gone(hooked.host, {id});
  expect_gone(hooked.host, {0});
  expect_gone(hooked.host, {UINT64_MAX});
}

TEST_P(HostHandleTest, RefuseWhatIsWrongBeforeTheyLookForTheConnection) {
  Hooked hooked(GetParam());
  const ws_host& host = hooked.host;
  EXPECT_EQ(host.handle_send({0}, WS_TEXT, "\xff", 1, 0), WS_INVALID);
  EXPECT_EQ(host.handle_send({0}, ws_type(3), "x", 1, 0), WS_INVALID);
  EXPECT_EQ(host.handle_send({0}, WS_TEXT, nullptr, 1, 0), WS_INVALID);
  EXPECT_EQ(host.handle_send({0}, WS_BINARY, "x", size_t(PTRDIFF_MAX) + 1, 0), WS_INVALID);
  EXPECT_EQ(host.handle_send({0}, WS_TEXT, "x", 1, 2), WS_INVALID);
  EXPECT_EQ(host.handle_send_buffer({0}, nullptr), WS_INVALID);
  EXPECT_EQ(host.handle_close({0}, 1005, nullptr, 0), WS_INVALID);
  EXPECT_EQ(host.handle_close({0}, 0, "x", 1), WS_INVALID);
  EXPECT_EQ(host.handle_post({0}, nullptr, nullptr), WS_INVALID);
}

TEST_P(HostHandleTest, WhatTheySendWhileAMessageIsSentInPiecesDoesNotKeepDrainedFromComing) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  client.room = 0;
  std::atomic<bool> sent = false, drained = false;
  hooked.then = [&](const Event& event) {
    ws_connection* connection = event.connection;
    if (event.callback == "drained" && !drained.exchange(true))
      hooked.host.send_fragment(connection, WS_TEXT, "c", 1, 1);
    else if (event.callback == "drained") hooked.host.close(connection, 1000, nullptr, 0);
    if (event.callback != "open") return;
    hooked.host.send_fragment(connection, WS_TEXT, "a", 1, 0);
    EXPECT_EQ(hooked.host.send_fragment(connection, WS_TEXT, "b", 1, 0),
              GetParam() ? WS_QUEUED : WS_OK);
    std::thread([&hooked, handle = hooked.host.handle(connection)] {
      hooked.host.handle_send(handle, WS_TEXT, "x", 1, 0);
      hooked.host.handle_send(handle, WS_TEXT, "y", 1, 0);
    }).join();
    sent = true;
  };
  hooked.talk(client, [&](int) {
    if (sent) client.room = kUnlimited;
  });
  EXPECT_EQ(client.frames(),
            (Events{"first text a", "piece b", "last c", "text x", "text y", "close 1000"}));
}

TEST_P(HostHandleTest, SayWhatWaitsAndDrainedFollows) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  client.room = 0;
  std::string large(Connection::kHighWater, 'l');
  ws_handle handle{};
  std::atomic<int> drained = 0;
  std::thread sender;
  std::atomic<bool> sent = false;
  hooked.then = [&](const Event& event) {
    if (event.callback == "drained") {
      drained++;
      hooked.host.close(event.connection, 1000, nullptr, 0);
    }
    if (event.callback != "open") return;
    handle = hooked.host.handle(event.connection);
    sender = std::thread([&] {
      EXPECT_EQ(hooked.host.handle_send(handle, WS_TEXT, "first", 5, 0), WS_OK);
      EXPECT_EQ(hooked.host.handle_send(handle, WS_TEXT, "second", 6, 0), WS_QUEUED);
      EXPECT_EQ(hooked.host.handle_send(handle, WS_TEXT, large.data(), large.size(), 0),
                WS_HIGH_WATER);
      EXPECT_GE(hooked.host.handle_buffered_amount(handle), large.size() + 11);
      sent = true;
    });
  };
  hooked.talk(client, [&](int) {
    if (sent) client.room = kUnlimited;
  });
  sender.join();
  EXPECT_EQ(drained, 1);
  EXPECT_EQ(client.frames(), (Events{"text first", "text second",
                                     message_event(Opcode::text, large), "close 1000"}));
}

TEST_P(HostHandleTest, SeeACloseOfTheServersToo) {
  Hooked hooked(GetParam());
  Client client;
  ws_handle handle{};
  std::latch opened(1);
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    handle = hooked.host.handle(event.connection);
    opened.count_down();
  };
  Loop loop(4096);
  loop.any_thread_adopt(hooked.connection(client), {});
  run(loop, [&](int turn) {
    if (turn == 1) loop.any_thread_post([&] { opened.wait(), loop.any_thread_drain(1001, 0); });
    if (!client.has("close 1001") || client.unread()) return;
    EXPECT_FALSE(hooked.host.handle_is_open(handle));
    EXPECT_EQ(hooked.host.handle_send(handle, WS_TEXT, "x", 1, 0), WS_CLOSED);
    client.sends(close_frame(1001));
    client.ends();
  });
  EXPECT_TRUE(hooked.handler->finish(600'000));
}

// ---- Posted calls -------------------------------------------------------------------------------

struct Calls {
  std::atomic<int> with = 0, without = 0;
  static void call(ws_connection* connection, void* self) {
    (connection ? static_cast<Calls*>(self)->with : static_cast<Calls*>(self)->without)++;
  }
};

TEST_P(HostHandleTest, APostedCallRunsAsACallback) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    auto call = +[](ws_connection* c, void* context) {
      const ws_host& host = *static_cast<const ws_host*>(context);
      EXPECT_GE(host.send(c, WS_TEXT, "posted", 6, 0), WS_OK);
      EXPECT_EQ(host.close(c, 4000, nullptr, 0), WS_OK);
    };
    ws_handle handle = hooked.host.handle(event.connection);
    std::thread([&] {
      EXPECT_EQ(hooked.host.handle_post(handle, call, const_cast<ws_host*>(&hooked.host)), WS_OK);
    }).join();
    EXPECT_EQ(hooked.host.send(event.connection, WS_TEXT, "before", 6, 0), WS_OK);
  };
  hooked.talk(client);
  EXPECT_EQ(client.frames(), (Events{"text before", "text posted", "close 4000"}));
}

TEST_P(HostHandleTest, APostedCallRunsExactlyOnceHoweverTheConnectionEnds) {
  Hooked hooked(GetParam());
  std::mutex lock;
  std::vector<std::thread> threads;  // under lock
  Calls calls;
  std::atomic<int> accepted = 0;
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    ws_handle handle = hooked.host.handle(event.connection);
    std::lock_guard hold(lock);
    threads.emplace_back([&, handle] {
      ws_result result = WS_OK;
      for (int i = 0; i < 100'000 && result == WS_OK; i++) {
        if (i == 20) hooked.host.handle_close(handle, 1000, nullptr, 0);
        result = hooked.host.handle_post(handle, Calls::call, &calls);
        if (result == WS_OK) accepted++;
      }
    });
  };
  for (int i = 0; i < 10; i++) {
    Client client;
    behave(client);
    Loop loop(4096);
    loop.any_thread_adopt(hooked.connection(client), {});
    run(loop);
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(calls.with + calls.without, accepted);
  EXPECT_GE(calls.with, 10 * 20);
}

TEST(HostHandleLoopTest, APostedCallIsToldThatTheConnectionWentFirst) {
  Hooked hooked(0);
  Client client;
  Calls calls;
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    EXPECT_EQ(hooked.host.abort(event.connection), WS_OK);
    ws_handle handle = hooked.host.handle(event.connection);
    EXPECT_EQ(hooked.host.handle_post(handle, Calls::call, &calls), WS_OK);
  };
  hooked.talk(client);
  EXPECT_EQ(calls.with, 0);
  EXPECT_EQ(calls.without, 1);
}

TEST(HostHandleLoopTest, APostedCallIsToldThatTheLoopIsDestroyed) {
  Hooked hooked(0);
  Client client;
  Calls calls;
  struct Stop {};
  {
    Loop loop(4096);
    hooked.then = [&](const Event& event) {
      if (event.callback != "open") return;
      loop.any_thread_post([] { throw Stop(); });
      ws_handle handle = hooked.host.handle(event.connection);
      EXPECT_EQ(hooked.host.handle_post(handle, Calls::call, &calls), WS_OK);
    };
    loop.any_thread_adopt(hooked.connection(client), {});
    EXPECT_THROW(loop.run_while_connected(), Stop);
    EXPECT_EQ(calls.without, 0);
  }
  EXPECT_EQ(calls.with, 0);
  EXPECT_EQ(calls.without, 1);
  EXPECT_EQ(hooked.told(), (Events{"open", "close"}));
}

TEST(HostHandleLoopTest, AnExceptionOutOfAPostedCallWithoutAConnectionGoesNoFurther) {
  Hooked hooked(0);
  Client client;
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    hooked.host.abort(event.connection);
    auto call = +[](ws_connection*, void*) { throw 42; };
    hooked.host.handle_post(hooked.host.handle(event.connection), call, nullptr);
  };
  hooked.talk(client);
  EXPECT_EQ(hooked.told(), (Events{"open", "close"}));
}

// ---- Buffers ------------------------------------------------------------------------------------

struct Released {
  std::string data = std::string(50'000, 'b');
  std::atomic<int> times = 0;
  static void count(void* self) { static_cast<Released*>(self)->times++; }
};

TEST(HostBufferTest, IsReleasedOnceWithItsLastReference) {
  Hooked hooked(0);
  const ws_host& host = hooked.host;
  Released released;
  ws_buffer* buffer = host.buffer(&host, WS_TEXT, released.data.data(), released.data.size(), 0,
                                  Released::count, &released);
  ASSERT_TRUE(buffer);
  host.buffer_retain(buffer);
  host.buffer_release(buffer);
  EXPECT_EQ(released.times, 0);
  std::thread([&] { host.buffer_release(buffer); }).join();
  EXPECT_EQ(released.times, 1);
  host.buffer_retain(nullptr);
  host.buffer_release(nullptr);
}

TEST(HostBufferTest, OfWhatIsWrongIsNoneAndNothingIsReleased) {
  Hooked hooked(0);
  const ws_host& host = hooked.host;
  Released released;
  auto refused = [&](ws_type type, const void* data, size_t size, uint32_t flags) {
    return !host.buffer(&host, type, data, size, flags, Released::count, &released);
  };
  EXPECT_TRUE(refused(WS_TEXT, "\xff", 1, 0));
  EXPECT_TRUE(refused(ws_type(0), "x", 1, 0));
  EXPECT_TRUE(refused(WS_BINARY, nullptr, 1, 0));
  EXPECT_TRUE(refused(WS_BINARY, "x", SIZE_MAX, 0));
  EXPECT_TRUE(refused(WS_BINARY, "x", 1, 4));
  EXPECT_EQ(released.times, 0);
  ws_buffer* empty = host.buffer(nullptr, WS_TEXT, nullptr, 0, 0, nullptr, nullptr);
  EXPECT_TRUE(empty);
  host.buffer_release(empty);
}

TEST_P(HostHandleTest, ABufferThatIsReleasedBeforeItIsWrittenReachesAllAndIsReleasedOnce) {
  Hooked hooked(GetParam());
  Client clients[3];
  Released released;
  const ws_host& host = hooked.host;
  ws_buffer* buffer = host.buffer(&host, WS_TEXT, released.data.data(), released.data.size(), 0,
                                  Released::count, &released);
  std::atomic<int> sent = 0;
  hooked.then = [&](const Event& event) {
    if (event.callback != "open") return;
    EXPECT_GE(host.send_buffer(event.connection, buffer), WS_OK);
    EXPECT_EQ(host.send_buffer(event.connection, nullptr), WS_INVALID);
    EXPECT_GE(host.handle_send_buffer(host.handle(event.connection), buffer), WS_OK);
    host.close(event.connection, 1000, nullptr, 0);
    if (++sent == 3) host.buffer_release(buffer);
  };
  {
    Loop loop(4096);
    for (Client& each : clients) {
      behave(each);
      each.room = 10;
      loop.any_thread_adopt(hooked.connection(each), {});
    }
    run(loop, [&](int) {
      for (Client& each : clients)
        if (sent == 3 && each.room == 0) {
          EXPECT_EQ(released.times, 0);
          each.room = kUnlimited;
        }
    });
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  EXPECT_EQ(released.times, 1);
  for (Client& each : clients) {
    EXPECT_EQ(each.frames().front(), message_event(Opcode::text, released.data));
    EXPECT_EQ(each.frames().back(), "close 1000");
  }
}

}  // namespace
}  // namespace mws
