// What handlers are told, on the loop and on workers: in order, close last and once, and what
// becomes of exceptions.
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <stdexcept>

#include "src/base/clock.h"
#include "tests/unit/hooks_support.h"

namespace mws {
namespace {

using namespace test;

struct HandlerEventsTest : testing::TestWithParam<int> {};  // of workers
INSTANTIATE_TEST_SUITE_P(OnLoopOrWorkers, HandlerEventsTest, testing::Values(0, 1, 3));

TEST_P(HandlerEventsTest, ComeInTheirOrder) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  Events expected{"open"};
  for (int i = 0; i < 300; i++) {
    client.sends(text(std::to_string(i)) + ping(std::to_string(i)) + client_frame(0x8a, "o"));
    expected.insert(expected.end(),
                    {"message " + std::to_string(i), "ping " + std::to_string(i), "pong o"});
  }
  client.sends(close_frame(4000, "bye"));
  hooked.talk(client);
  expected.push_back("close bye");
  EXPECT_EQ(hooked.told(), expected);
}

TEST_P(HandlerEventsTest, AnExceptionOutOfAnyIsLoggedAndClosesWith1011) {
  for (std::string callback :
       {"open", "message", "fragment", "drained", "ping", "pong", "timer", "a posted call"})
    for (bool is_text : {true, false}) {
      SCOPED_TRACE(callback);
      Hooked hooked(GetParam(), callback == "fragment");
      Client client;
      behave(client);
      auto fail = [is_text] {
        if (is_text) throw std::runtime_error("out of order");
        throw 42;
      };
      auto posted = +[](ws_connection*, void* call) { (*static_cast<decltype(fail)*>(call))(); };
      hooked.then = [&](const Event& event) {
        if (event.callback == callback) fail();
        if (event.callback != "open") return;
        ws_connection* c = event.connection;
        if (callback == "timer") hooked.host.set_timer(c, 0, 1);
        if (callback == "drained") hooked.host.send(c, WS_TEXT, "wait", 4, 0);
        if (callback == "a posted call") {
          EXPECT_EQ(hooked.host.handle_post(hooked.host.handle(c), posted, &fail), WS_OK);
        }
      };
      if (callback == "drained") client.room = 1;
      if (callback == "message" || callback == "fragment") client.sends(text("x"));
      if (callback == "ping") client.sends(ping("x"));
      if (callback == "pong") client.sends(client_frame(0x8a, "x"));
      hooked.talk(client, [&](int) {
        if (!client.writes.empty()) client.room = kUnlimited;
      });
      EXPECT_TRUE(client.has("close 1011"));
      EXPECT_EQ(hooked.told().back(), "close");
      EXPECT_EQ(hooked.log.all, (Events{"error: /here: exception left " + callback +
                                        (is_text ? ": out of order" : "")}));
    }
}

TEST_P(HandlerEventsTest, AnExceptionOutOfCloseIsLoggedOnly) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  hooked.then = [](const Event& event) {
    if (event.callback == "close") throw std::runtime_error("out of order");
  };
  client.sends(close_frame(1000));
  hooked.talk(client);
  EXPECT_EQ(hooked.log.all, (Events{"error: /here: exception left close: out of order"}));
  EXPECT_EQ(hooked.told(), (Events{"open", "close"}));
}

TEST_P(HandlerEventsTest, ThatSendCloseAndAbortLikeTheLoopItself) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  std::string large(100'000, 'l');
  hooked.then = [&](const Event& event) {
    ws_connection* c = event.connection;
    const ws_host& host = hooked.host;
    if (event.data == "echo") {
      EXPECT_GE(host.send(c, WS_TEXT, "one", 3, 0), WS_OK);
      EXPECT_GE(host.send_fragment(c, WS_TEXT, "caf\xc3", 4, 0), WS_OK);
      EXPECT_GE(host.ping(c, "p", 1), WS_OK);
      EXPECT_GE(host.send(c, WS_BINARY, large.data(), large.size(), 0), WS_OK);
      EXPECT_EQ(host.send_fragment(c, WS_TEXT, "\xff", 1, 0), WS_INVALID);
      EXPECT_EQ(host.send_fragment(c, WS_BINARY, "x", 1, 1), WS_INVALID);
      EXPECT_EQ(host.send_fragment(c, WS_TEXT, "", 0, 1), WS_INVALID) << "ends in a character";
      EXPECT_GE(host.send_fragment(c, WS_TEXT, "\xa9", 1, 1), WS_OK);
      EXPECT_EQ(host.close(c, 4001, "done", 4), WS_OK);
      EXPECT_EQ(host.send(c, WS_TEXT, "late", 4, 0), WS_CLOSED);
      EXPECT_EQ(host.close(c, 4001, "done", 4), WS_CLOSED);
    }
    if (event.callback != "close") return;
    EXPECT_EQ(host.send(c, WS_TEXT, "late", 4, 0), WS_CLOSED);
    EXPECT_EQ(host.send_fragment(c, WS_TEXT, "late", 4, 1), WS_CLOSED);
    EXPECT_EQ(host.ping(c, nullptr, 0), WS_CLOSED);
    EXPECT_EQ(host.close(c, 1000, nullptr, 0), WS_CLOSED);
    EXPECT_EQ(host.abort(c), WS_CLOSED);
    EXPECT_EQ(host.pause(c), WS_CLOSED);
    EXPECT_EQ(host.set_timer(c, 0, 1), WS_CLOSED);
  };
  client.sends(text("echo"));
  hooked.talk(client);
  EXPECT_EQ(client.frames(), (Events{"text one", "first text caf\\xc3", "ping p", "last \\xa9",
                                     message_event(Opcode::binary, large), "close 4001 done"}));
}

TEST_P(HandlerEventsTest, AbortDropsAndIsToldWith1006) {
  for (bool in_open : {true, false}) {
    Hooked hooked(GetParam());
    Client client;
    uint32_t code = 0;
    hooked.then = [&](const Event& event) {
      if (event.callback == "close") code = event.number;
      if (event.callback != (in_open ? "open" : "message")) return;
      EXPECT_EQ(hooked.host.abort(event.connection), WS_OK);
      EXPECT_EQ(hooked.host.send(event.connection, WS_TEXT, "late", 4, 0), WS_CLOSED);
      EXPECT_EQ(hooked.host.close(event.connection, 1000, nullptr, 0), WS_CLOSED);
    };
    client.sends(text("x"));
    hooked.talk(client);
    EXPECT_EQ(client.received, "");
    EXPECT_EQ(code, 1006u);
    EXPECT_EQ(hooked.told().back(), "close");
  }
}

TEST_P(HandlerEventsTest, ThePausedGetsNothingUntilItResumesFromAnotherCallback) {
  Hooked hooked(GetParam());
  Client client;
  behave(client);
  hooked.then = [&](const Event& event) {
    if (event.data == "pause") {
      EXPECT_EQ(hooked.host.pause(event.connection), WS_OK);
      EXPECT_EQ(hooked.host.pause(event.connection), WS_OK);
      EXPECT_EQ(hooked.host.set_timer(event.connection, 6, 5), WS_OK);
    }
    if (event.callback == "timer") {
      EXPECT_EQ(event.number, 6u);
      EXPECT_EQ(hooked.host.resume(event.connection), WS_OK);
    }
  };
  client.sends(text("pause") + text("one") + text("two"));
  client.sends(text("three"));
  hooked.talk(client, [&](int) {
    Events told = hooked.told();
    if (!told.empty() && told.back() == "message three" && !client.unread())
      client.sends(close_frame(1000));
  });
  EXPECT_EQ(hooked.told(), (Events{"open", "message pause", "timer", "message one", "message two",
                                   "message three", "close"}));
}

TEST(HandlerWorkersTest, ABlockedConnectionIsNotReadPastTheLimitAndLosesNothing) {
  Hooked hooked(1);
  Client client;
  behave(client);
  std::latch go(1);
  hooked.then = [&](const Event& event) {
    if (event.callback == "open") go.wait();
  };
  Events expected{"open"};
  for (int i = 0; i < 500; i++) {
    client.sends(text(std::to_string(i)));
    expected.push_back("message " + std::to_string(i));
  }
  client.sends(close_frame(1000));
  expected.push_back("close");
  hooked.talk(client, [&](int turn) {
    if (turn != 1000) return;
    EXPECT_GE(client.unread(), 500 - Strand::kEvents);
    EXPECT_LT(client.unread(), 500u);
    go.count_down();
  });
  EXPECT_EQ(hooked.told(), expected);
}

TEST(HandlerWorkersTest, DrainedWaitsOnceForABlockedHandlerHoweverOftenItWasDue) {
  Hooked hooked(1);
  Client client;
  behave(client);
  std::atomic<uint64_t> id = 0;
  std::latch goes_on(1);
  int drained = 0;
  hooked.then = [&](const Event& event) {
    if (event.callback == "drained") drained++;
    if (event.callback != "open") return;
    id = hooked.host.handle(event.connection).id;
    goes_on.wait();
  };
  hooked.talk(client, [&, times = 0](int) mutable {
    if (!id || times == 100) return;
    hooked.host.handle_send({id}, WS_TEXT, "x", 1, 0);
    EXPECT_EQ(hooked.host.handle_send({id}, WS_TEXT, "y", 1, 0), WS_QUEUED);
    if (++times < 100) return;
    hooked.host.handle_close({id}, 1000, nullptr, 0);
    goes_on.count_down();
  });
  EXPECT_EQ(client.frames().size(), 200u + 1);
  EXPECT_EQ(drained, 1);
}

TEST(HandlerWorkersTest, ATimerThatIsCancelledOrSetAnewIsNotCalledThoughItWasDue) {
  for (bool cancels : {true, false}) {
    Hooked hooked(1);
    Client client;
    behave(client);
    std::latch set(1), go(1);
    std::vector<uint32_t> called;
    hooked.then = [&](const Event& event) {
      if (event.callback == "timer") {
        called.push_back(event.number);
        hooked.host.close(event.connection, 1000, nullptr, 0);
      }
      if (event.callback != "open") return;
      hooked.host.set_timer(event.connection, 0, 1);
      set.count_down();
      go.wait();
      if (cancels) hooked.host.cancel_timer(event.connection, 0);
      else hooked.host.set_timer(event.connection, 0, 600'000);
      hooked.host.set_timer(event.connection, 1, 1);
    };
    uint64_t due_ms = UINT64_MAX;
    int after = 0;
    hooked.talk(client, [&](int) {
      if (due_ms == UINT64_MAX && set.try_wait()) due_ms = monotonic_ms() + 10;
      if (monotonic_ms() > due_ms && ++after == 3) go.count_down();
    });
    EXPECT_EQ(called, (std::vector<uint32_t>{1}));
  }
}

TEST(HandlerWorkersTest, WhatCameWithTheOpeningHandshakeGoesToThemAtOnce) {
  Hooked hooked(1);
  Client client;
  behave(client);
  hooked.then = [&](const Event& event) {
    if (event.callback == "message") hooked.host.close(event.connection, 1000, "", 0);
  };
  Loop loop(4096);
  std::string early = text("x");
  loop.any_thread_adopt(hooked.connection(client), {early.begin(), early.end()});
  loop.run_while_connected();
  EXPECT_TRUE(hooked.handler->finish(600'000));
  EXPECT_EQ(hooked.told(), (Events{"open", "message x", "close"}));
}

TEST(HandlerWorkersTest, DoNotWaitForACallbackThatBlocksTheLoop) {
  Hooked on_workers(1), on_loop(0);
  Client one, two;
  behave(one);
  behave(two);
  std::promise<void> ran;
  on_workers.then = [&](const Event& event) {
    if (event.callback == "message") ran.set_value();
  };
  on_loop.then = [&](const Event& event) {
    if (event.callback != "message") return;
    EXPECT_EQ(ran.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
  };
  Loop loop(4096);
  loop.any_thread_adopt(on_workers.connection(one), {});
  loop.any_thread_adopt(on_loop.connection(two), {});
  bool sent = false;
  run(loop, [&](int) {
    if (sent || on_workers.told().empty()) return;  // open: the worker is about to sleep
    sent = true;
    for (Client* each : {&one, &two}) each->sends(text("x") + close_frame(1000));
  });
  EXPECT_TRUE(on_workers.handler->finish(600'000));
}

TEST(HandlerWorkersTest, ConnectionsDoNotWaitForEachOther) {
  Hooked hooked(2);
  Client one, two;
  behave(one);
  behave(two);
  std::latch both(2);
  hooked.then = [&](const Event& event) {
    if (event.callback == "message") both.arrive_and_wait();
  };
  for (Client* each : {&one, &two}) each->sends(text("x") + close_frame(1000));
  {
    Loop loop(4096);
    loop.any_thread_adopt(hooked.connection(one), {});
    loop.any_thread_adopt(hooked.connection(two), {});
    run(loop);
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  EXPECT_EQ(hooked.told().size(), 6u);
}

}  // namespace
}  // namespace mws
