// A loop's drain: its connections are closed one by one, each when its turn comes and no message is
// arriving on it.
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

constexpr uint64_t kHour_ms = 3'600'000;
constexpr uint16_t kCode = kCloseServiceRestart;

struct Peer {
  Client client;
  Log log;
};

struct DrainTest : testing::Test {
  Loop loop{4096};
  std::vector<size_t> order;       // of the close frames, as peers
  std::vector<uint64_t> times_ms;  // when they came
  bool stopped_before_all = false;
  std::function<void(size_t)> then_on_close_frame;

  // Its close frame is answered, and written down.
  void watch(std::vector<Peer>& peers, size_t i) {
    behave(peers[i].client);
    peers[i].client.on_received = [this, &peers, i, answer = peers[i].client.on_received] {
      answer();
      if (!peers[i].client.received.ends_with(close_bytes)) return;
      order.push_back(i);
      times_ms.push_back(monotonic_ms());
      stopped_before_all |= loop.stopping();
      if (then_on_close_frame) then_on_close_frame(order.size());
    };
  }
  void watch_and_adopt(std::vector<Peer>& peers) {
    for (size_t i = 0; i < peers.size(); i++) {
      watch(peers, i);
      adopt(loop, peers[i].client, peers[i].log);
    }
  }
  // Ends whoever is left.
  void end() { loop.any_thread_stop(kCloseGoingAway, 0); }

  const std::string close_bytes = "\x88\x02" + code_and_reason(kCode);
};

void expect_closed_with(Peer& peer, uint16_t code) {
  std::string frame = "close " + std::to_string(code);
  peer.log.expect_gone();
  EXPECT_EQ(peer.client.frames(), (Events{frame}));
  EXPECT_EQ(peer.log.events, (Events{"open", frame + ", clean"}));
}

// ---- Spread over the time -----------------------------------------------------------------------

TEST_F(DrainTest, ClosesOneAfterTheOtherNoneBeforeItsTurnAndAllWithoutTheStop) {
  std::vector<Peer> peers(5);
  watch_and_adopt(peers);
  uint64_t begin_ms = monotonic_ms();
  constexpr uint64_t kOver_ms = 200;
  loop.any_thread_drain(kCode, kOver_ms);
  run(loop);
  for (Peer& each : peers) expect_closed_with(each, kCode);
  EXPECT_EQ(order.size(), peers.size());
  EXPECT_FALSE(stopped_before_all);
  for (size_t turn = 0; turn < times_ms.size(); turn++)
    EXPECT_GE(times_ms[turn], begin_ms + kOver_ms * turn / peers.size()) << turn;
}

TEST_F(DrainTest, DoesNotWaitForTheEndOfItsTime) {
  std::vector<Peer> peers(300);
  watch_and_adopt(peers);
  then_on_close_frame = [&](size_t closed) {
    if (closed == 2) end();
  };
  loop.any_thread_drain(kCode, 60'000);  // a turn in each 200 ms
  run(loop);
  for (Peer& each : peers) each.log.expect_gone();
  EXPECT_GE(order.size(), 2u);
  EXPECT_LT(order.size(), peers.size());
  EXPECT_FALSE(stopped_before_all);
}

TEST_F(DrainTest, OverNoTimeClosesAllAtOnceAndStops) {
  std::vector<Peer> peers(20);
  watch_and_adopt(peers);
  loop.any_thread_drain(kCode, 0);
  run(loop);
  for (Peer& each : peers) expect_closed_with(each, kCode);
  EXPECT_EQ(order.size(), peers.size());
  EXPECT_TRUE(loop.stopping());
}

TEST_F(DrainTest, OfAnEmptyLoopStopsItToo) {
  loop.any_thread_drain(kCode, 0);
  loop.any_thread_quit();
  loop.run();
  EXPECT_TRUE(loop.stopping());
}

TEST_F(DrainTest, OfAnEmptyLoopDoesNotHoldItsThread) {
  loop.any_thread_drain(kCode, kHour_ms);
  loop.any_thread_quit();
  loop.run();
  EXPECT_FALSE(loop.stopping());
}

TEST_F(DrainTest, AtItsEndStopsThoseThatNeverFinishTheirMessage) {
  std::vector<Peer> peers(3);
  for (Peer& each : peers) {
    each.client.sends(text("the whole of it").substr(0, 9));
    adopt(loop, each.client, each.log);
  }
  loop.any_thread_drain(kCode, 20);
  run(loop, [&](int) {
    if (loop.stopping()) end();
    else
      for (Peer& each : peers) EXPECT_TRUE(each.client.received.empty());
  });
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.client.frames(), (Events{"close 1012"}));
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
  }
}

TEST_F(DrainTest, AtItsEndGivesAGraceToThoseThatDoNotAnswer) {
  std::vector<Peer> peers(3);
  for (Peer& each : peers) adopt(loop, each.client, each.log);
  loop.any_thread_drain(kCode, 20);
  int turns = 0;
  run(loop, [&](int) {
    if (loop.stopping() && turns++ == 10) end();  // a grace that is never used up would take long
  });
  EXPECT_GE(turns, 10);
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.client.frames(), (Events{"close 1012"}));
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
  }
}

// ---- What is under way --------------------------------------------------------------------------

// A loop that drains already closes newcomers at once, so that nothing here depends on the time.
struct DrainingTest : DrainTest {
  DrainingTest() {
    behave(peer.client);
    loop.any_thread_drain(kCode, kHour_ms);
  }
  void play(std::function<void(int)> between = {}, std::string_view early = "") {
    adopt(loop, peer.client, peer.log, early);
    run(loop, std::move(between));
    peer.log.expect_gone();
    EXPECT_EQ(peer.client.frames().back(), "close 1012");
    EXPECT_FALSE(loop.stopping());
  }
  Peer peer;
};

TEST_F(DrainingTest, ThoseThatComeLaterAreClosedAtOnce) {
  play();
  expect_closed_with(peer, kCode);
}

TEST_F(DrainingTest, WhatCameWithTheOpeningIsAnsweredFirst) {
  peer.log.echoes = true;
  play({}, text("early"));
  EXPECT_EQ(peer.log.events, (Events{"open", "text early", "close 1012, clean"}));
  EXPECT_EQ(peer.client.frames(), (Events{"text early", "close 1012"}));
}

TEST_F(DrainingTest, WhatHasArrivedIsAnsweredFirst) {
  for (bool hides : {false, true}) {
    Peer each;
    behave(each.client);
    each.client.hides = each.client.reads_on = hides;
    each.log.echoes = true;
    each.client.sends(text("arrived"));
    adopt(loop, each.client, each.log);
    run(loop);
    each.log.expect_gone();
    EXPECT_EQ(each.client.frames(), (Events{"text arrived", "close 1012"})) << hides;
  }
}

TEST_F(DrainingTest, TheRestOfAFrameIsAwaitedWhereverItIsCut) {
  std::string frame = text("whole");
  for (size_t at = 1; at < frame.size(); at++) {
    SCOPED_TRACE(at);
    Peer each;
    behave(each.client);
    each.log.echoes = true;
    each.client.sends(frame.substr(0, at));
    adopt(loop, each.client, each.log);
    run(loop, [&](int turn) {
      if (turn < 10) {
        EXPECT_TRUE(each.client.received.empty());
      } else if (turn == 10) each.client.sends(frame.substr(at));
    });
    each.log.expect_gone();
    EXPECT_EQ(each.log.events, (Events{"open", "text whole", "close 1012, clean"}));
    EXPECT_EQ(each.client.frames(), (Events{"text whole", "close 1012"}));
  }
}

TEST_F(DrainingTest, TheRestOfAFragmentedMessageIsAwaited) {
  peer.log.echoes = true;
  play(
      [&](int turn) {
        if (turn == 5) peer.client.sends(ping("between"));
        if (turn == 10) {
          EXPECT_EQ(peer.client.frames(), (Events{"pong between"}));
          peer.client.sends(continuation("b", more));
        }
        if (turn == 15) peer.client.sends(continuation("c"));
      },
      text("a", more));
  EXPECT_EQ(peer.client.frames(), (Events{"pong between", "text abc", "close 1012"}));
}

TEST_F(DrainingTest, AMessageBehindTheOneThatIsAwaitedIsDealtWithIfItCameAlong) {
  peer.log.echoes = true;
  play(
      [&](int turn) {
        if (turn == 5) peer.client.sends(text("one").substr(4) + text("two"));
      },
      text("one").substr(0, 4));
  EXPECT_EQ(peer.client.frames(), (Events{"text one", "text two", "close 1012"}));
}

TEST_F(DrainingTest, RepliesThatWaitGoBeforeTheCloseFrame) {
  peer.client.room = 3;
  peer.log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("waits")); };
  play([&](int turn) {
    if (turn == 5) peer.client.room = kUnlimited;
  });
  EXPECT_EQ(peer.client.frames(), (Events{"text waits", "close 1012"}));
}

TEST_F(DrainingTest, WhereReadingIsPausedNothingIsReadFirst) {
  peer.client.room = 0;
  peer.log.then_on_open = [](Connection& c) {
    c.send(Opcode::binary, bytes_of(std::string(2 << 20, 'l')));
  };
  peer.client.sends(text("unread"));
  play([&](int turn) {
    if (turn < 5) {
      EXPECT_EQ(peer.client.reads, 0);
    } else if (turn == 5) peer.client.room = kUnlimited;
  });
  EXPECT_EQ(peer.log.events, (Events{"open", "close 1012, clean"}));
}

TEST_F(DrainingTest, AClosingThatHasBegunIsLeftAlone) {
  behave(peer.client);
  peer.log.then_on_open = [](Connection& c) { c.close(4000, "mine"); };
  adopt(loop, peer.client, peer.log);
  run(loop);
  EXPECT_EQ(peer.client.frames(), (Events{"close 4000 mine"}));
  EXPECT_EQ(peer.log.events, (Events{"open", "close 4000, clean"}));
}

TEST_F(DrainingTest, NewcomersThatFailAtOnceLeaveNothing) {
  std::vector<Peer> peers(3);
  for (Peer& each : peers) {
    each.client.failing_write = 1;
    adopt(loop, each.client, each.log);
  }
  peers[1].client.failing_read = 1;
  play();  // with one that does not fail
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
  }
}

// ---- Whoever leaves -----------------------------------------------------------------------------

// The turns go through the list of connections: each may leave it before, in and after its turn.
TEST_F(DrainTest, GoesOnWhoeverLeavesWhenever) {
  constexpr size_t kPeers = 5;
  for (size_t leaver = 0; leaver < kPeers; leaver++) {
    for (size_t after = 0; after < kPeers; after++) {
      SCOPED_TRACE(testing::Message() << "leaver " << leaver << " after " << after);
      Loop each_loop(4096);
      std::vector<Peer> peers(kPeers);
      size_t closed = 0;
      for (size_t i = 0; i < kPeers; i++) {
        Client& client = peers[i].client;
        behave(client);
        client.on_received = [&, answer = client.on_received] {
          answer();
          EXPECT_FALSE(each_loop.stopping());
          if (++closed == after) peers[leaver].client.breaks();
        };
        adopt(each_loop, client, peers[i].log);
      }
      each_loop.any_thread_drain(kCode, 25);
      if (!after) each_loop.any_thread_post([&] { peers[leaver].client.breaks(); });
      run(each_loop);
      for (size_t i = 0; i < kPeers; i++) {
        peers[i].log.expect_gone();
        if (i != leaver) expect_closed_with(peers[i], kCode);
      }
    }
  }
}

TEST_F(DrainTest, GoesOnWhenAllButOneLeaveBeforeTheirTurns) {
  for (size_t stays = 0; stays < 4; stays++) {
    SCOPED_TRACE(stays);
    Loop each_loop(4096);
    std::vector<Peer> peers(4);
    bool stopped = false;
    for (Peer& each : peers) {
      behave(each.client);
      each.client.on_received = [&, answer = each.client.on_received] {
        answer();
        stopped |= each_loop.stopping();
      };
      adopt(each_loop, each.client, each.log);
    }
    each_loop.any_thread_drain(kCode, 100);
    each_loop.any_thread_post([&] {
      for (size_t i = 0; i < peers.size(); i++)
        if (i != stays) peers[i].client.breaks();
    });
    run(each_loop);
    for (Peer& each : peers) each.log.expect_gone();
    expect_closed_with(peers[stays], kCode);
    EXPECT_FALSE(stopped);  // its turn came before that
  }
}

TEST_F(DrainTest, GoesOnWhereACloseFrameCannotBeWritten) {
  for (size_t failing = 0; failing < 3; failing++) {
    SCOPED_TRACE(failing);
    Loop each_loop(4096);
    std::vector<Peer> peers(3);
    for (Peer& each : peers) {
      behave(each.client);
      adopt(each_loop, each.client, each.log);
    }
    peers[failing].client.failing_write = 1;
    each_loop.any_thread_drain(kCode, 10);
    run(each_loop);
    for (size_t i = 0; i < peers.size(); i++) {
      if (i != failing) expect_closed_with(peers[i], kCode);
    }
    EXPECT_EQ(peers[failing].log.events, (Events{"open", "close 1006"}));
  }
}

TEST_F(DrainTest, MayEndWithTheLoop) {
  std::vector<Peer> peers(3);
  auto own = std::make_unique<Loop>(4096);
  for (Peer& each : peers) adopt(*own, each.client, each.log);
  own->any_thread_drain(kCode, kHour_ms);
  own->any_thread_post([] { throw 1; });
  EXPECT_THROW(own->run(), int);
  own.reset();
  for (Peer& each : peers) each.log.expect_gone();
}

// ---- Asked more than once -----------------------------------------------------------------------

TEST_F(DrainTest, AStopEndsIt) {
  std::vector<Peer> peers(5);
  for (Peer& each : peers) {
    behave(each.client);
    adopt(loop, each.client, each.log);
  }
  loop.any_thread_drain(kCode, 24 * kHour_ms);
  run(loop, [&](int turn) {
    if (turn == 3) loop.any_thread_stop(kCloseGoingAway, 60'000);
  });
  size_t stopped = 0;
  for (Peer& each : peers) {
    each.log.expect_gone();
    stopped += each.client.has("close 1001");
  }
  EXPECT_GE(stopped, 4u);  // the first turn may have come at once
}

TEST_F(DrainTest, ThatAStopEndedDoesNotComeToItsOwnEnd) {
  Peer silent, late;
  adopt(loop, silent.client, silent.log);
  uint64_t end_ms = monotonic_ms() + 20;
  loop.any_thread_drain(kCode, 10);
  loop.any_thread_stop(kCloseGoingAway, 60'000);
  int turns_since = 0;
  run(loop, [&](int) {
    if (monotonic_ms() > end_ms && ++turns_since == 5) silent.client.breaks();
  });
  behave(late.client);
  adopt(loop, late.client, late.log);
  run(loop);
  expect_closed_with(late, kCloseGoingAway);
}

TEST_F(DrainTest, ASecondOneIsNotHeard) {
  std::vector<Peer> peers(5);
  for (Peer& each : peers) {
    behave(each.client);
    adopt(loop, each.client, each.log);
  }
  loop.any_thread_drain(kCode, 24 * kHour_ms);
  loop.any_thread_drain(kCloseGoingAway, 0);
  Peer late;
  behave(late.client);
  run(loop, [&](int turn) {
    if (turn == 10) {
      EXPECT_FALSE(loop.stopping());
      adopt(loop, late.client, late.log);
    }
    if (turn == 20) {
      size_t closed = 0;
      for (Peer& each : peers) closed += each.log.closed;
      EXPECT_LE(closed, 1u);
      loop.any_thread_stop(kCloseInternalError, 60'000);
    }
  });
  expect_closed_with(late, kCode);
  for (Peer& each : peers) EXPECT_FALSE(each.client.has("close 1001"));
}

TEST_F(DrainTest, AfterAStopIsNotHeard) {
  Peer first, late, latest;
  for (Peer* each : {&first, &late, &latest}) behave(each->client);
  adopt(loop, first.client, first.log);
  loop.any_thread_stop(kCloseGoingAway, 60'000);
  run(loop);
  loop.any_thread_drain(kCode, 0);
  adopt(loop, late.client, late.log);
  run(loop);
  adopt(loop, latest.client, latest.log);
  run(loop);
  for (Peer* each : {&first, &late, &latest}) expect_closed_with(*each, kCloseGoingAway);
}

}  // namespace
}  // namespace mws
