// How a connection ends.
#include <gtest/gtest.h>

#include "src/engine/connection.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

struct ConnectionCloseTest : testing::Test {
  Client client;
  Log log;
  Loop loop{4096};

  void play(std::function<void(int)> between = {}) {
    adopt(loop, client, log);
    run(loop, std::move(between));
    log.expect_gone();
    EXPECT_TRUE(client.destroyed);
  }
  // No time passes: whoever waits for the client's last words gives up.
  void hurry() { loop.any_thread_stop(kCloseGoingAway, 10); }
};

TEST_F(ConnectionCloseTest, ByTheClientIsAnsweredThenItsEndOfStreamIsAwaited) {
  client.sends(close_frame(1000, "done"));
  client.on_finished = [&] {
    EXPECT_EQ(client.frames(), (Events{"close 1000 done"}));
    client.sends(text("what comes now is dropped"));
    client.ends();
  };
  play();
  EXPECT_EQ(log.events, (Events{"open", "close 1000 done, clean"}));
  EXPECT_TRUE(client.told_finished);
  EXPECT_EQ(client.unread(), 1u);  // the end of stream
}

TEST_F(ConnectionCloseTest, DoesNotLingerWhereTheTransportHasNoNeed) {
  client.awaits_end = false;
  client.sends(close_frame(1000));
  play();
  EXPECT_TRUE(client.told_finished);
}

TEST_F(ConnectionCloseTest, LingersNoLongerThanItsDeadline) {
  client.sends(close_frame(1000));
  client.on_finished = [&] { hurry(); };
  play();
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
}

TEST_F(ConnectionCloseTest, LingeringSurvivesWhatTheClientGoesOnSending) {
  client.sends(close_frame(1000));
  int turns = 0;
  client.on_finished = [&] { turns = 1; };
  play([&](int) {
    if (!turns) return;
    if (turns++ < 100) client.sends(text("more and more"));
    if (turns == 100) client.ends();
  });
  EXPECT_GE(turns, 100);
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
}

TEST_F(ConnectionCloseTest, WhileLingeringAFailedReadEndsIt) {
  client.sends(close_frame(1000));
  client.on_finished = [&] { client.breaks(); };
  play();
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
}

TEST_F(ConnectionCloseTest, ByTheServerIsCleanWhenTheClientAnswers) {
  behave(client);
  log.then_on_open = [](Connection& c) {
    EXPECT_TRUE(c.close(4000, "enough"));
    EXPECT_EQ(c.send(Opcode::text, bytes_of("late")), SendResult::closed);
    EXPECT_FALSE(c.close(4001, "again"));
  };
  play();
  EXPECT_EQ(client.frames(), (Events{"close 4000 enough"}));
  EXPECT_EQ(log.events, (Events{"open", "close 4000, clean"}));
}

TEST_F(ConnectionCloseTest, ByTheServerWithoutACodeIsAnEmptyFrame) {
  behave(client);
  log.then_on_open = [](Connection& c) { EXPECT_TRUE(c.close(kCloseNoCode, "")); };
  play();
  EXPECT_EQ(client.frames(), (Events{"close 1005"}));
  EXPECT_EQ(log.events, (Events{"open", "close 1005, clean"}));
}

TEST_F(ConnectionCloseTest, ByTheServerIsNotCleanWhenTheClientNeverAnswers) {
  log.then_on_open = [&](Connection& c) { c.close(1000, ""); };
  play([&](int turn) {
    if (turn == 3) hurry();
  });
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
  EXPECT_EQ(client.frames(), (Events{"close 1000"}));
}

TEST_F(ConnectionCloseTest, MessagesAndPingsBehindTheServersCloseFrameAreDropped) {
  log.then_on_open = [](Connection& c) { c.close(1000, ""); };
  client.sends(text("late") + ping("late"));
  client.sends(close_frame(1000));
  client.ends();
  play();
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
  EXPECT_EQ(client.frames(), (Events{"close 1000"}));
}

TEST_F(ConnectionCloseTest, ByTheHandlerInsideAMessageDropsTheRestOfTheRead) {
  behave(client);
  log.then_on_message = [](Connection& c, Opcode, Bytes) {
    c.send(Opcode::text, bytes_of("last"));
    c.close(1000, "");
  };
  client.sends(text("one") + text("two") + text("three"));
  play();
  EXPECT_EQ(log.events, (Events{"open", "text one", "close 1000, clean"}));
  EXPECT_EQ(client.frames(), (Events{"text last", "close 1000"}));
  EXPECT_EQ(client.writes.size(), 1u);
}

TEST_F(ConnectionCloseTest, InsideOnCloseNothingCanBeSentHoweverItCame) {
  auto script = std::vector<std::function<void(Client&)>>{
      [](Client& c) { c.sends(close_frame(1000)), c.ends(); },
      [](Client& c) { c.sends(from_hex("ffff")), c.ends(); },
      [](Client& c) { c.ends(); },
      [](Client& c) { c.breaks(); },
      [](Client&) {},
  };
  for (size_t i = 0; i < script.size(); i++) {
    Client each_client;
    Log each;
    Loop each_loop(4096);
    std::string before;
    each.then_on_close = [&](Connection& c) {
      before = each_client.received;
      EXPECT_EQ(c.send(Opcode::text, bytes_of("late")), SendResult::closed) << i;
      EXPECT_FALSE(c.close(1000, "late")) << i;
    };
    script[i](each_client);
    adopt(each_loop, each_client, each);
    run(each_loop, [&](int turn) {
      if (turn == 3 && i + 1 == script.size()) each_loop.any_thread_stop(kCloseGoingAway, 0);
    });
    each.expect_gone();
    for (const std::string& frame : each_client.frames()) EXPECT_NE(frame, "text late") << i;
  }
}

TEST_F(ConnectionCloseTest, ForABrokenRuleTellsTheClientAndTheHandlerWhy) {
  behave(client);
  client.sends(text("fine") + text("\xff"));
  play();
  EXPECT_EQ(log.events, (Events{"open", "text fine", "close 1007 text message is not UTF-8"}));
  EXPECT_EQ(client.frames(), (Events{"close 1007 text message is not UTF-8"}));
}

TEST_F(ConnectionCloseTest, WhenTheClientEndsItsStreamWithoutACloseFrame) {
  client.sends(text("hello"));
  client.ends();
  play();
  EXPECT_EQ(log.events, (Events{"open", "text hello", "close 1006"}));
  EXPECT_TRUE(client.received.empty());
}

TEST_F(ConnectionCloseTest, RepliesThatWaitAreDeliveredAfterTheClientEndedItsStream) {
  log.echoes = true;
  client.room = 3;
  client.sends(text("one") + text("two"));
  client.ends();
  bool waited = false;
  play([&](int) {
    if (!log.closed || waited) return;
    EXPECT_FALSE(client.destroyed);
    waited = true;
    client.room = kUnlimited;
  });
  EXPECT_TRUE(waited);
  EXPECT_EQ(log.events, (Events{"open", "text one", "text two", "close 1006"}));
  EXPECT_EQ(client.frames(), (Events{"text one", "text two"}));
}

TEST_F(ConnectionCloseTest, RepliesToAClientThatEndedAndNeverReadsWaitForTheDeadlineOnly) {
  log.echoes = true;
  client.room = 0;
  client.sends(text("one"));
  client.ends();
  play([&](int) {
    if (log.closed) hurry();
  });
  EXPECT_TRUE(client.received.empty());
}

TEST_F(ConnectionCloseTest, BehindAFullQueueTheCloseFrameKeepsItsPlace) {
  behave(client);
  client.room = 5;
  std::string large(3'000'000, 'l');
  log.then_on_open = [&](Connection& c) {
    EXPECT_EQ(c.send(Opcode::binary, bytes_of(large)), SendResult::high_water);
    EXPECT_TRUE(c.close(1000, ""));
  };
  play([&](int turn) {
    if (turn == 5) client.room = kUnlimited, client.most_at_once = 1 << 20;
  });
  EXPECT_EQ(client.frames(), (Events{message_event(Opcode::binary, large), "close 1000"}));
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
}

TEST_F(ConnectionCloseTest, BehindAQueueThatNeverDrainsEndsByItsDeadline) {
  client.room = 5;
  log.then_on_open = [&](Connection& c) {
    c.send(Opcode::binary, bytes_of(std::string(3'000'000, 'l')));
    c.close(1000, "");
  };
  play([&](int turn) {
    if (turn == 5) hurry();
  });
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
}

TEST_F(ConnectionCloseTest, ByTheClientWithRepliesStillQueuedDeliversThemBeforeTheAnswer) {
  behave(client);
  log.echoes = true;
  client.room = 1;
  client.sends(text("one") + text("two") + close_frame(1000));
  play([&](int turn) {
    if (turn == 5) {
      EXPECT_FALSE(client.told_finished);
      client.room = kUnlimited;
    }
  });
  EXPECT_EQ(client.frames(), (Events{"text one", "text two", "close 1000"}));
  EXPECT_EQ(log.events, (Events{"open", "text one", "text two", "close 1000, clean"}));
}

TEST_F(ConnectionCloseTest, FromAnotherConnectionsCallback) {
  behave(client);
  Client other_client;
  Log other;
  behave(other_client);
  other.then_on_close = [&](Connection&) { EXPECT_TRUE(log.connection->close(4000, "you too")); };
  other_client.sends(close_frame(1000));
  adopt(loop, client, log);
  adopt(loop, other_client, other);
  run(loop);
  log.expect_gone();
  other.expect_gone();
  EXPECT_EQ(client.frames(), (Events{"close 4000 you too"}));
  EXPECT_EQ(log.events, (Events{"open", "close 4000, clean"}));
}

TEST_F(ConnectionCloseTest, AWriteThatFailsInAnotherConnectionsCallbackIsNoticed) {
  Client other_client;
  Log other;
  behave(other_client);
  client.failing_write = 1;
  other.then_on_message = [&](Connection&, Opcode, Bytes) {
    EXPECT_EQ(log.connection->send(Opcode::text, bytes_of("x")), SendResult::closed);
    EXPECT_EQ(log.closed, 0);  // not inside of this
  };
  other_client.sends(text("go"));
  adopt(loop, client, log);
  adopt(loop, other_client, other);
  run(loop, [&](int turn) {
    if (turn == 10) other_client.sends(close_frame(1000));
  });
  log.expect_gone();
  other.expect_gone();
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
}

}  // namespace
}  // namespace mws
