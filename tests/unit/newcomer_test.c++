// Connections whose start nobody waits for: a loop that expects more of them is not woken.
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "src/engine/engine.h"
#include "tests/unit/socket_client.h"

namespace mws {
namespace {

using namespace test;

// On "wait" it keeps its loop until it is released.
class Patient final : public Echo {
 public:
  bool acts_on_open() const noexcept override { return false; }
  void on_message(Connection& c, Opcode type, Bytes payload) noexcept override {
    if (text_of(payload) == "wait") {
      waits = true;
      waits.notify_one();
      released.wait(false);
    }
    Echo::on_message(c, type, payload);
  }
  void release() {
    released = true;
    released.notify_one();
  }
  std::atomic<bool> waits = false, released = false;
};

struct Newcomers : testing::Test {
  Newcomers() { engine.start(); }

  // From here on the loop does nothing, and knows that more may come.
  void hold_loop() {
    first = std::make_unique<SocketClient>(engine, patient);
    first->send(text("wait"));
    patient.waits.wait(false);
  }
  std::unique_ptr<SocketClient> newcomer(const Site& site = Site::unlimited()) {
    return std::make_unique<SocketClient>(engine, patient, "", site);
  }
  void end() {
    engine.stop(kCloseGoingAway, 10);
    EXPECT_TRUE(engine.join(10'000));
    EXPECT_EQ(patient.closed.load(), patient.opened.load());
  }

  Patient patient;
  Engine engine{1};
  std::unique_ptr<SocketClient> first;
};

TEST_F(Newcomers, StartThoughTheirClientsSayNothing) {
  hold_loop();
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 5; i++) clients.push_back(newcomer());
  patient.release();
  while (patient.opened < 6) std::this_thread::yield();
  end();
}

TEST_F(Newcomers, AreAnsweredWhereTheirFirstMessageStartsThem) {
  hold_loop();
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 5; i++) {
    clients.push_back(newcomer());
    clients.back()->send(text("hello"));
  }
  patient.release();
  for (auto& each : clients) {
    each->receive(1);
    EXPECT_EQ(frames_of(each->wire), Events{"text hello"});
  }
  end();
  EXPECT_EQ(patient.opened, 6);
}

TEST_F(Newcomers, WhoseClientIsGoneAlreadyEnd) {
  hold_loop();
  for (int i = 0; i < 5; i++) newcomer();
  patient.release();
  while (patient.closed < 5) std::this_thread::yield();
  end();
  EXPECT_EQ(patient.opened, 6);
}

TEST_F(Newcomers, AreToldOfAStopThatComesBeforeTheirStart) {
  hold_loop();
  auto client = newcomer();
  engine.stop(kCloseGoingAway, 10);
  patient.release();
  client->receive_to_end();
  EXPECT_EQ(frames_of(client->wire), Events{"close 1001"});
  end();
}

TEST_F(Newcomers, AreToldOfADrainThatComesBeforeTheirStart) {
  hold_loop();
  auto client = newcomer();
  engine.drain(kCloseServiceRestart, 10);
  patient.release();
  client->receive(1);
  EXPECT_EQ(frames_of(client->wire), Events{"close 1012"});
  end();
}

TEST_F(Newcomers, ComeFromManyThreadsAtOnce) {
  constexpr int kThreads = 4, kEach = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; i++) {
        auto client = newcomer();
        if (i % 3 == 0) continue;  // gone at once
        client->send(text("hello"));
        client->receive(1);
        EXPECT_EQ(frames_of(client->wire), Events{"text hello"});
      }
    });
  for (std::thread& each : threads) each.join();
  while (patient.closed < kThreads * kEach) std::this_thread::yield();
  end();
  EXPECT_EQ(patient.opened, kThreads * kEach);
}

}  // namespace
}  // namespace mws
