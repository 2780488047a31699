// The engine with threads and sockets as they are in a server.
#include "src/engine/engine.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <set>

#include "tests/unit/engine_support.h"
#include "tests/unit/socket_client.h"

namespace mws {
namespace {

using namespace test;

TEST(Engine, ThatWasNeverStartedStopsAndEndsQuietly) {
  Engine engine(3);
  engine.stop(kCloseGoingAway, 0);
  EXPECT_TRUE(engine.join(10'000));
}

TEST(Engine, EndsWithoutBeingAskedWhenNobodyIsConnected) {
  Engine engine(2);
  engine.start();
}

TEST(Engine, StartsOnceHoweverManyAskAtOnce) {
  Engine engine(3);
  std::vector<std::thread> threads;
  std::vector<std::set<Loop*>> loops(8);
  for (auto& each : loops)
    threads.emplace_back([&] {
      engine.start();
      for (int i = 0; i < 100; i++) each.insert(&engine.next_loop());
    });
  for (std::thread& each : threads) each.join();
  std::set<Loop*> all;
  for (auto& each : loops) all.insert(each.begin(), each.end());
  EXPECT_EQ(all.size(), 3u);
  engine.stop(kCloseGoingAway, 0);
  EXPECT_TRUE(engine.join(10'000));
}

TEST(Engine, TakesItsLoopsInTurn) {
  Engine engine(3);
  engine.start();
  std::vector<Loop*> round;
  for (int i = 0; i < 9; i++) round.push_back(&engine.next_loop());
  EXPECT_EQ(std::set<Loop*>(round.begin(), round.end()).size(), 3u);
  for (size_t i = 3; i < round.size(); i++) EXPECT_EQ(round[i], round[i - 3]);
}

TEST(Engine, RunsEachLoopOnAThreadOfItsOwn) {
  Engine engine(4);
  engine.start();
  std::mutex lock;
  std::set<std::thread::id> threads;
  for (int i = 0; i < 40; i++)
    engine.next_loop().any_thread_post([&] {
      std::lock_guard guard(lock);
      threads.insert(std::this_thread::get_id());
    });
  for (int i = 0; i < 4; i++) {  // each loop has done what it was given before this
    std::atomic<bool> done = false;
    engine.next_loop().any_thread_post([&] { done = true, done.notify_one(); });
    done.wait(false);
  }
  std::lock_guard guard(lock);
  EXPECT_EQ(threads.size(), 4u);
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
}

TEST(Engine, LeavesSignalsToOtherThreads) {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Engine engine(1);
  engine.start();
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
  std::atomic<int> blocked = -1;
  engine.next_loop().any_thread_post([&] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1);
    blocked.notify_one();
  });
  blocked.wait(-1);
  EXPECT_EQ(blocked, 1);
}

TEST(Engine, ServesManyClientsOnItsLoopsAtOnce) {
  Engine engine(3);
  engine.start();
  Echo echo;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; i++) {
        std::string large(size_t(i) * 5000, char('a' + t));
        SocketClient client(engine, echo, text("early"));
        client.send(text("hello") + binary(large));
        client.receive(3);
        client.send(close_frame(1000));
        client.receive_to_end();
        ASSERT_EQ(frames_of(client.wire),
                  (Events{"text early", "text hello", message_event(Opcode::binary, large),
                          "close 1000"}));
      }
    });
  for (std::thread& each : threads) each.join();
  engine.stop(kCloseGoingAway, 10);
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_EQ(echo.opened, 80);
  EXPECT_EQ(echo.closed, 80);
}

TEST(Engine, StopsWithLiveConnectionsAndTellsThemAll) {
  Echo echo;
  {
    Engine engine(2);
    engine.start();
    std::vector<std::unique_ptr<SocketClient>> clients;
    for (int i = 0; i < 10; i++) {
      clients.push_back(std::make_unique<SocketClient>(engine, echo));
      clients.back()->send(text("hello"));
      clients.back()->receive(1);
    }
    engine.stop(kCloseGoingAway, 10);
    // Half of them answer, half do not.
    for (size_t i = 0; i < clients.size(); i += 2) {
      clients[i]->receive(2);
      clients[i]->send(close_frame(1001));
    }
    EXPECT_TRUE(engine.join(10'000));
    for (auto& each : clients) {
      each->receive_to_end();
      EXPECT_EQ(frames_of(each->wire), (Events{"text hello", "close 1001"}));
    }
  }
  EXPECT_EQ(echo.opened, 10);
  EXPECT_EQ(echo.closed, 10);
}

TEST(Engine, StopsWhileClientsKeepComing) {
  Echo echo;
  Engine engine(2);
  engine.start();
  std::vector<std::thread> threads;
  std::atomic<int> connected = 0;
  for (int t = 0; t < 3; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; i++) {
        SocketClient client(engine, echo, text("hello"));
        connected++;
        client.receive_to_end();  // stop closes it, early or late
        EXPECT_EQ(frames_of(client.wire), (Events{"text hello", "close 1001"}));
      }
    });
  while (connected < 3) std::this_thread::yield();
  engine.stop(kCloseGoingAway, 1);
  for (std::thread& each : threads) each.join();
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_EQ(echo.opened, 150);
  EXPECT_EQ(echo.closed, 150);
}

// ---- Asked before it starts ---------------------------------------------------------------------

TEST(Engine, AStopBeforeTheStartHoldsForLoopsThatStartLater) {
  Engine engine(3);
  engine.stop(kCloseGoingAway, 60'000);
  engine.start();
  Echo echo;
  for (int i = 0; i < 6; i++) {
    SocketClient client(engine, echo, text("early"));
    client.receive(2);
    EXPECT_EQ(frames_of(client.wire), (Events{"text early", "close 1001"}));
    client.send(close_frame(1001));
    client.receive_to_end();
  }
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_EQ(echo.closed, 6);
}

TEST(Engine, ADrainBeforeTheStartHoldsForLoopsThatStartLater) {
  Engine engine(3);
  engine.drain(kCloseServiceRestart, 3'600'000);
  engine.start();
  Echo echo;
  for (int i = 0; i < 6; i++) {
    SocketClient client(engine, echo, text("early"));
    client.receive(2);
    EXPECT_EQ(frames_of(client.wire), (Events{"text early", "close 1012"}));
    client.send(close_frame(1012));
    client.receive_to_end();
  }
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_EQ(echo.closed, 6);
}

TEST(Engine, AStopIsHeardWhileManyStartIt) {
  for (int round = 0; round < 50; round++) {
    Engine engine(2);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; t++) threads.emplace_back([&] { engine.start(); });
    threads.emplace_back([&] { engine.stop(kCloseGoingAway, 60'000); });
    for (std::thread& each : threads) each.join();
    Echo echo;
    for (int i = 0; i < 2; i++) {
      SocketClient client(engine, echo);
      client.receive(1);
      ASSERT_EQ(frames_of(client.wire), (Events{"close 1001"}));
      client.send(close_frame(1001));
      client.receive_to_end();
    }
    EXPECT_TRUE(engine.join(10'000));
  }
}

// ---- Draining -----------------------------------------------------------------------------------

TEST(Engine, DrainsOnAllOfItsLoops) {
  Engine engine(3);
  engine.start();
  Echo echo;
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 9; i++) {
    clients.push_back(std::make_unique<SocketClient>(engine, echo, text("hello")));
    clients.back()->receive(1);
  }
  engine.drain(kCloseServiceRestart, 30);
  for (auto& each : clients) {
    each->receive(2);
    EXPECT_EQ(frames_of(each->wire), (Events{"text hello", "close 1012"}));
    each->send(close_frame(1012));
    each->receive_to_end();
    each.reset();
  }
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_EQ(echo.closed, 9);
}

TEST(Engine, AStopEndsADrain) {
  Engine engine(2);
  engine.start();
  Echo echo;
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 8; i++) {
    clients.push_back(std::make_unique<SocketClient>(engine, echo, text("hello")));
    clients.back()->receive(1);
  }
  engine.drain(kCloseServiceRestart, 24 * 3'600'000);
  engine.stop(kCloseGoingAway, 0);
  EXPECT_TRUE(engine.join(10'000));  // though nobody answers
  EXPECT_EQ(echo.closed, 8);
}

// ---- Waiting for its threads --------------------------------------------------------------------

class Blocks final : public Endpoint {
 public:
  void on_open(Connection&) noexcept override {}
  void on_message(Connection&, Opcode, Bytes) noexcept override {
    entered = true;
    entered.notify_one();
    released.wait(false);
  }
  void on_close(Connection&, uint16_t, std::string_view, bool) noexcept override {}
  std::atomic<bool> entered = false, released = false;
};

TEST(Engine, JoinGivesUpWhileAHandlerBlocksAndCanBeAskedAgain) {
  Engine engine(2);
  engine.start();
  Blocks blocks;
  SocketClient client(engine, blocks, text("hello"));
  blocks.entered.wait(false);
  engine.stop(kCloseGoingAway, 0);
  EXPECT_FALSE(engine.join(0));
  EXPECT_FALSE(engine.join(20));
  blocks.released = true;
  blocks.released.notify_one();
  EXPECT_TRUE(engine.join(10'000));
  EXPECT_TRUE(engine.join(0));
}

TEST(Engine, JoinGivesUpWhileAClientIsConnectedAndLeavesItServed) {
  Engine engine(2);
  engine.start();
  Echo echo;
  {
    SocketClient client(engine, echo, text("one"));
    client.receive(1);
    EXPECT_FALSE(engine.join(0));
    client.send(text("two"));
    client.receive(2);
    EXPECT_EQ(frames_of(client.wire), (Events{"text one", "text two"}));
    client.send(close_frame(1000));
    client.receive_to_end();
  }
  EXPECT_TRUE(engine.join(10'000));
}

// ---- Signals ------------------------------------------------------------------------------------

std::atomic<int> signals_handled;

TEST(SignalsBlocked, KeepsThemFromTheThreadWhileItLives) {
  struct sigaction count {
  }, before;
  count.sa_handler = [](int) { signals_handled++; };
  ASSERT_EQ(sigaction(SIGUSR1, &count, &before), 0);
  signals_handled = 0;
  {
    SignalsBlocked outer;
    {
      SignalsBlocked inner;
      raise(SIGUSR1);
    }
    EXPECT_EQ(signals_handled, 0);
  }
  EXPECT_EQ(signals_handled, 1);
  sigaction(SIGUSR1, &before, nullptr);
}

TEST(SignalsBlocked, HoldsForThreadsThatAreMadeThenAndLeavesTheMaskAsItWas) {
  auto mask_of_this_thread = [] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    std::vector<int> blocked;
    for (int each : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGCHLD, SIGWINCH, SIGSEGV, SIGBUS,
                     SIGFPE, SIGILL, SIGABRT})
      if (sigismember(&mask, each)) blocked.push_back(each);
    return blocked;
  };
  sigset_t one, before_all;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &one, &before_all);
  auto before = mask_of_this_thread();
  std::vector<int> in_thread;
  {
    SignalsBlocked blocked;
    std::thread thread([&] { in_thread = mask_of_this_thread(); });
    thread.join();
  }
  EXPECT_EQ(in_thread, (std::vector<int>{SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGCHLD,
                                         SIGWINCH}));  // and none of its own faults
  EXPECT_EQ(mask_of_this_thread(), before);
  pthread_sigmask(SIG_SETMASK, &before_all, nullptr);
}

}  // namespace
}  // namespace mws
