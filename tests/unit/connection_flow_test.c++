// Backpressure: a client that does not read is not read either, until it does.
#include <gtest/gtest.h>

#include "src/engine/connection.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

std::string numbered(int number, size_t size) {
  std::string payload = std::to_string(number) + " ";
  payload.resize(size, '.');
  return payload;
}

struct ConnectionFlowTest : testing::Test {
  Client client;
  Log log;
  Loop loop{64 * 1024};

  ConnectionFlowTest() { behave(client); }

  // Messages that the client sends, each in one read.
  void send_messages(int count, size_t size) {
    for (int i = 0; i < count; i++) {
      client.sends(binary(numbered(i, size)));
      expected.push_back(message_event(Opcode::binary, numbered(i, size)));
    }
    client.sends(close_frame(1000));
    expected.push_back("close 1000");
  }
  // Runs, and calls when once no read came for a few turns.
  void run_and_when_quiet(std::function<void()> when) {
    adopt(loop, client, log);
    run(loop, [&, reads = -1, quiet = 0, done = false](int) mutable {
      quiet = client.reads == reads ? quiet + 1 : 0;
      reads = client.reads;
      if (!done && quiet == 20) done = true, when();
    });
    log.expect_gone();
  }

  Events expected;
};

TEST_F(ConnectionFlowTest, ReadingPausesAboveHighWaterAndGoesOnWhenTheClientReads) {
  log.echoes = true;
  client.room = 0;
  send_messages(100, 40'000);
  run_and_when_quiet([&] {
    EXPECT_GT(log.connection->buffered_amount(), Connection::kHighWater);
    EXPECT_LT(log.connection->buffered_amount(), Connection::kHighWater + 2 * 64 * 1024);
    EXPECT_GT(client.unread(), 70u);
    EXPECT_EQ(log.closed, 0);
    client.room = kUnlimited;
  });
  EXPECT_EQ(client.frames(), expected);
  EXPECT_EQ(log.events.back(), "close 1000, clean");
}

TEST_F(ConnectionFlowTest, EachSendSaysWhereItsMessageWent) {
  log.echoes = true;
  client.room = 100'000;
  send_messages(40, 40'000);
  run_and_when_quiet([&] { client.room = kUnlimited; });
  // The first goes; what the cork took before the queue began is said to be sent, too.
  EXPECT_EQ(log.results.front(), SendResult::sent);
  EXPECT_EQ(std::count(log.results.begin(), log.results.end(), SendResult::closed), 0);
  EXPECT_TRUE(std::is_sorted(log.results.begin(), log.results.begin() + 29));
  EXPECT_EQ(std::count(log.results.begin(), log.results.begin() + 29, SendResult::high_water), 1);
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, AClientThatReadsLittleByLittleGetsEverythingInOrder) {
  log.echoes = true;
  client.room = 0;
  send_messages(60, 50'000);
  adopt(loop, client, log);
  run(loop, [&](int turn) { client.room += turn % 7 * 1000; });
  log.expect_gone();
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, BytesThatTheTransportHoldsAreReadWhenThePauseIsOver) {
  log.echoes = true;
  client.room = 0;
  client.hides = client.reads_on = true;
  send_messages(100, 40'000);
  run_and_when_quiet([&] {
    EXPECT_GT(client.unread(), 70u);
    client.room = kUnlimited;
  });
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, EverythingPassesHoweverFewBytesAWriteTakesAndBytesAreHeld) {
  log.echoes = true;
  client.hides = client.reads_on = true;
  client.most_at_once = 9'001;
  client.room = 0;
  send_messages(100, 40'000);
  adopt(loop, client, log);
  run(loop, [&](int turn) { client.room += turn % 50 ? 0 : 100'000; });
  log.expect_gone();
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, WhatOthersSendCountsToo) {
  Client other_client;
  Log other;
  behave(other_client);
  client.room = 0;
  other.then_on_message = [&](Connection&, Opcode, Bytes payload) {
    SendResult result = log.connection->send(Opcode::binary, payload);
    bool much = log.connection->buffered_amount() > Connection::kHighWater;
    EXPECT_EQ(result, much ? SendResult::high_water : SendResult::queued);
  };
  adopt(loop, other_client, other);
  for (int i = 0; i < 60; i++) {
    other_client.sends(binary(numbered(i, 30'000)));
    expected.push_back(message_event(Opcode::binary, numbered(i, 30'000)));
  }
  other_client.sends(close_frame(1000));
  expected.push_back("text read at last");
  expected.push_back("close 1000");
  log.then_on_message = [](Connection& c, Opcode, Bytes) {
    c.send(Opcode::text, bytes_of("read at last"));
  };
  bool sent = false;
  adopt(loop, client, log);
  run(loop, [&](int) {
    if (!other.closed || sent) return;
    sent = true;
    client.sends(text("hello") + close_frame(1000));
    client.room = kUnlimited;
  });
  log.expect_gone();
  other.expect_gone();
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, WhileReadingIsPausedALostClientIsNoticedByTheNextWrite) {
  log.echoes = true;
  client.room = 0;
  send_messages(100, 40'000);
  run_and_when_quiet([&] {
    client.failing_write = int(client.writes.size()) + 1;
    client.room = kUnlimited;
  });
  EXPECT_EQ(log.events.back(), "close 1006");
  EXPECT_TRUE(client.received.empty());
}

TEST_F(ConnectionFlowTest, StopWhileReadingIsPausedEndsWithinItsGrace) {
  log.echoes = true;
  client.room = 0;
  send_messages(100, 40'000);
  run_and_when_quiet([&] { loop.any_thread_stop(kCloseGoingAway, 10); });
  EXPECT_EQ(log.events.back(), "close 1006");
}

TEST_F(ConnectionFlowTest, BufferedAmountIsWhatTheKernelDidNotTake) {
  client.room = 10;
  log.then_on_open = [](Connection& c) {
    EXPECT_EQ(c.buffered_amount(), 0u);
    EXPECT_EQ(c.send(Opcode::text, bytes_of("12345678")), SendResult::sent);
    EXPECT_EQ(c.buffered_amount(), 10u);
    // What the cork does not hold goes at once, and what was held before it.
    EXPECT_EQ(c.send(Opcode::text, bytes_of(std::string(100'000, 'x'))), SendResult::queued);
    EXPECT_EQ(c.buffered_amount(), 100'010u);
    EXPECT_EQ(c.send(Opcode::text, bytes_of("12345678")), SendResult::queued);
    EXPECT_EQ(c.buffered_amount(), 100'020u);
  };
  client.sends(close_frame(1000));
  run_and_when_quiet([&] { client.room = kUnlimited; });
  EXPECT_EQ(log.events.back(), "close 1000, clean");
}

// Messages that take a hundred bytes and inflate to 60000 each, then a close frame.
struct ConnectionInflatesTest : ConnectionFlowTest {
  static constexpr size_t kMessage = 60'000, kMessages = 200;
  std::string wire;

  ConnectionInflatesTest() {
    std::string message(kMessage, 'x'), payload = deflated(message);
    for (size_t i = 0; i < kMessages; i++) {
      wire += client_frame(0xc2, payload);
      expected.push_back(message_event(Opcode::binary, message));
    }
    wire += close_frame(1000);
    EXPECT_LT(wire.size(), 64u * 1024);
    log.then_on_message = [](Connection& c, Opcode type, Bytes answer) {
      c.send(type, answer, false);
    };
  }
  void adopt(std::string early = "") {
    loop.any_thread_adopt(make_connection(client, log, 1 << 20, kDeflate),
                          {early.begin(), early.end()});
  }
};

TEST_F(ConnectionInflatesTest, WhatOneReadInflatesToIsNotAnsweredPastHighWater) {
  client.sends(wire);
  client.room = 0;
  adopt();
  size_t most = 0;
  run(loop, [&](int turns) {
    if (log.connection) most = std::max(most, log.connection->buffered_amount());
    if (turns == 100) client.room = kUnlimited;
  });
  log.expect_gone();
  EXPECT_GT(most, Connection::kHighWater);
  EXPECT_LT(most, Connection::kHighWater + Connection::kInflatedAtOnce + 2 * kMessage);
  expected.push_back("close 1000");
  EXPECT_EQ(client.frames(), expected);
  EXPECT_EQ(log.events.back(), "close 1000, clean");
}

TEST_F(ConnectionInflatesTest, OthersHaveTheirTurnBetween) {
  Client bystander;
  Log others;
  behave(bystander);
  size_t before = 0;
  others.then_on_message = [&](Connection& c, Opcode, Bytes) {
    before = log.events.size();
    c.close(1000, "");
  };
  client.sends(wire);
  bystander.sends(text("here"));
  adopt();
  test::adopt(loop, bystander, others);
  run(loop);
  EXPECT_EQ(log.events.size(), kMessages + 2);
  EXPECT_LT(before, kMessages / 10);
}

TEST_F(ConnectionInflatesTest, ADrainAwaitsTheAnswersToWhatWasRead) {
  wire.resize(wire.size() - close_frame(1000).size());
  loop.any_thread_drain(kCloseGoingAway, 3'600'000);
  adopt(wire);
  run(loop);
  expected.push_back("close 1001");
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionFlowTest, WhatIsShownOfTheBacklogIsNothingOnceItIsSaidToBeDrained) {
  Connection::Shown shown;
  int drained = 0;
  client.room = 0;
  log.then_on_open = [&](Connection& c) {
    c.show(&shown);
    c.send(Opcode::binary, bytes_of(numbered(0, 2 << 20)));
  };
  log.then_on_drained = [&](Connection& c) {
    drained++;
    EXPECT_EQ(shown.backlog, 0u);
    c.close(1000, "");
  };
  run_and_when_quiet([&] {
    EXPECT_GT(shown.backlog, Connection::kHighWater);
    client.room = kUnlimited;
  });
  EXPECT_EQ(drained, 1);
}

TEST_F(ConnectionFlowTest, WhatIsFlushedLeavesBeforeTheEventIsOver) {
  log.then_on_message = [&](Connection& c, Opcode, Bytes payload) {
    c.send(Opcode::text, payload);
    EXPECT_EQ(client.frames(), Events{});
    c.flush();
    EXPECT_EQ(client.frames(), Events{"text one"});
  };
  client.sends(text("one") + close_frame(1000));
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(client.frames(), (Events{"text one", "close 1000"}));
}

TEST_F(ConnectionFlowTest, WhatHadToWaitIsFlushedToo) {
  client.room = 0;
  log.then_on_message = [&](Connection& c, Opcode, Bytes) {
    for (int i = 0; i < 2; i++) c.send(Opcode::text, bytes_of(numbered(i, 5000))), c.flush();
    EXPECT_TRUE(client.received.empty());
    client.room = kUnlimited;
    EXPECT_TRUE(c.make_room());
    EXPECT_EQ(client.frames().size(), 2u);
    EXPECT_EQ(c.buffered_amount(), 0u);
  };
  client.sends(text("go") + close_frame(1000));
  adopt(loop, client, log);
  run(loop);
}

struct NoRoomTest : ConnectionFlowTest {
  void expect_no_room(std::function<void(Connection&)> hindered) {
    client.room = 0;
    log.then_on_open = [&](Connection& c) {
      c.send(Opcode::binary, bytes_of(numbered(0, 2 << 20)));
      hindered(c);
      EXPECT_FALSE(c.make_room());
      c.abort();
    };
    adopt(loop, client, log);
    run(loop);
    EXPECT_EQ(log.closed, 1);
  }
};

TEST_F(NoRoomTest, CanBeAwaitedWhenTheLoopHasToStop) {
  expect_no_room([&](Connection&) { loop.any_thread_stop(kCloseGoingAway, 1000); });
}

TEST_F(NoRoomTest, CanBeAwaitedWhenADescriptorHasToBeLookedAt) {
  int descriptor = eventfd(1, EFD_CLOEXEC);
  ASSERT_TRUE(loop.when_readable(descriptor, [] {}));
  expect_no_room([](Connection&) {});
  close(descriptor);
}

TEST_F(NoRoomTest, CanBeAwaitedOnABrokenConnection) {
  client.failing_write = 2;
  expect_no_room([](Connection&) {});
}

}  // namespace
}  // namespace mws
