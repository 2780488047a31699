#include "src/engine/loop.h"

#include <gtest/gtest.h>

#include <thread>

#include "src/base/clock.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

struct Peer {
  Client client;
  Log log;
};

// ---- Stopping -----------------------------------------------------------------------------------

TEST(LoopStop, ClosesEveryConnectionWithItsCode) {
  Loop loop(4096);
  std::vector<Peer> peers(20);
  for (Peer& each : peers) {
    behave(each.client);
    adopt(loop, each.client, each.log);
  }
  run(loop, [&](int turn) {
    if (turn == 3) loop.any_thread_stop(kCloseGoingAway, 60'000);
  });
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.client.frames(), (Events{"close 1001"}));
    EXPECT_EQ(each.log.events, (Events{"open", "close 1001, clean"}));
  }
}

TEST(LoopStop, ClosesThoseThatComeLaterToo) {
  Loop loop(4096);
  Peer first, second;
  behave(first.client);
  behave(second.client);
  bool adopted = false;
  first.log.then_on_close = [&](Connection&) {
    adopted = true;
    second.client.sends(text("dropped"));
    adopt(loop, second.client, second.log, text("early"));
  };
  adopt(loop, first.client, first.log);
  loop.any_thread_stop(kCloseGoingAway, 60'000);
  run(loop);
  ASSERT_TRUE(adopted);
  run(loop);
  second.log.expect_gone();
  EXPECT_EQ(second.log.events, (Events{"open", "text early", "close 1001, clean"}));
  EXPECT_EQ(second.client.frames(), (Events{"close 1001"}));
}

TEST(LoopStop, ALaterCallShortensTheGrace) {
  Loop loop(4096);
  std::vector<Peer> peers(3);
  for (Peer& each : peers) adopt(loop, each.client, each.log);
  loop.any_thread_stop(kCloseGoingAway, 60'000);
  bool all_told = false;
  run(loop, [&](int turn) {
    if (turn != 10) return;
    all_told = true;
    for (Peer& each : peers) all_told &= each.client.has("close 1001") && !each.log.closed;
    loop.any_thread_stop(kCloseInternalError, 0);
  });
  EXPECT_TRUE(all_told);
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.client.frames(), (Events{"close 1001"}));
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
  }
}

// Runs until all are gone, and fails if any is still there when the grace is over.
void run_within_grace(Loop& loop, uint64_t grace_ms, std::function<void()> when_stopping = {}) {
  uint64_t end_ms = 0;
  int turns_since = 0;
  run(loop, [&](int) {
    if (!loop.stopping()) return;
    if (!end_ms) {
      end_ms = monotonic_ms() + grace_ms;
      if (when_stopping) when_stopping();
    } else if (monotonic_ms() > end_ms && ++turns_since == 10) {
      ADD_FAILURE() << "the grace was lengthened";
      loop.any_thread_stop(kCloseGoingAway, 0);
    }
  });
}

TEST(LoopStop, ALaterCallDoesNotLengthenTheGrace) {
  Loop loop(4096);
  Peer peer;
  adopt(loop, peer.client, peer.log);
  loop.any_thread_stop(kCloseGoingAway, 10);
  bool again = false;
  run_within_grace(loop, 10, [&] {
    again = true;
    loop.any_thread_stop(kCloseGoingAway, 60'000);
  });
  EXPECT_TRUE(again);
  EXPECT_EQ(peer.log.events, (Events{"open", "close 1006"}));
}

TEST(LoopStop, OfTwoCallsAtOnceTheShorterGraceHolds) {
  for (bool shorter_first : {false, true}) {
    Loop loop(4096);
    Peer peer;
    adopt(loop, peer.client, peer.log);
    loop.any_thread_stop(kCloseGoingAway, shorter_first ? 0 : 60'000);
    loop.any_thread_stop(kCloseGoingAway, shorter_first ? 60'000 : 0);
    run_within_grace(loop, 0);
    EXPECT_EQ(peer.log.events, (Events{"open", "close 1006"}));
    EXPECT_EQ(peer.client.frames(), (Events{"close 1001"}));
  }
}

TEST(LoopStop, LeavesNobodyBehindAfterTheGraceInWhateverPhase) {
  Loop loop(4096);
  std::vector<Peer> peers(5);
  peers[1].log.then_on_open = [](Connection& c) { c.close(1000, ""); };  // closing
  peers[2].client.room = 1;                                              // flushing
  peers[2].client.sends(close_frame(1000));
  peers[3].client.sends(close_frame(1000));  // lingering
  peers[4].client.room = 1;                  // the client ended, replies wait
  peers[4].log.echoes = true;
  peers[4].client.sends(text("hello"));
  peers[4].client.ends();
  for (Peer& each : peers) adopt(loop, each.client, each.log);
  run(loop, [&](int turn) {
    if (turn == 10) loop.any_thread_stop(kCloseGoingAway, 10);
  });
  for (Peer& each : peers) each.log.expect_gone();
  EXPECT_EQ(peers[0].log.events, (Events{"open", "close 1006"}));
  EXPECT_EQ(peers[0].client.frames(), (Events{"close 1001"}));
  EXPECT_EQ(peers[1].client.frames(), (Events{"close 1000"}));
}

TEST(LoopStop, OfNewcomersThatFailAtOnceLeavesNothing) {
  Loop loop(4096);
  loop.any_thread_stop(kCloseGoingAway, 60'000);
  Peer first;
  behave(first.client);
  adopt(loop, first.client, first.log);
  run(loop);
  std::vector<Peer> peers(3);
  for (Peer& each : peers) {
    each.client.failing_write = 1;
    each.log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("hello")); };
    adopt(loop, each.client, each.log);
  }
  Peer other;  // its deadline comes and goes where theirs would be
  behave(other.client);
  adopt(loop, other.client, other.log);
  run(loop);
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
  }
  other.log.expect_gone();
}

TEST(LoopRun, CallsWhenADescriptorBecomesReadable) {
  Loop loop(4096);
  int event = eventfd(0, EFD_CLOEXEC);
  int calls = 0;
  EXPECT_TRUE(loop.when_readable(event, [&] {
    calls++;
    loop.any_thread_stop(4321, 60'000);
  }));
  Peer peer;
  behave(peer.client);
  adopt(loop, peer.client, peer.log);
  run(loop, [&](int turn) {
    uint64_t one = 1;
    if (turn == 3) {
      ASSERT_EQ(write(event, &one, sizeof one), ssize_t(sizeof one));
    }
  });
  EXPECT_EQ(calls, 1);
  uint64_t still_there = 0;
  EXPECT_EQ(read(event, &still_there, sizeof still_there), ssize_t(sizeof still_there));
  close(event);
  EXPECT_EQ(peer.log.events, (Events{"open", "close 4321, clean"}));
}

// ---- Running ------------------------------------------------------------------------------------

TEST(LoopRun, ReturnsAfterQuitWithoutConnections) {
  Loop loop(4096);
  loop.any_thread_quit();
  loop.run();
}

TEST(LoopRun, GoesOnAfterQuitUntilItsLastConnectionIsGone) {
  Loop loop(4096);
  Peer peer;
  behave(peer.client);
  peer.log.then_on_open = [&](Connection&) { loop.any_thread_quit(); };
  peer.client.sends(text("hello"));
  peer.client.sends(close_frame(1000));
  adopt(loop, peer.client, peer.log);
  loop.run();
  EXPECT_EQ(peer.log.events, (Events{"open", "text hello", "close 1000, clean"}));
}

TEST(LoopRun, WhileConnectedReturnsAtOnceWithoutConnections) {
  Loop loop(4096);
  loop.run_while_connected();
}

TEST(LoopRun, WithoutAnybodyWakingItDoesNotForgetThoseToBeReadAgain) {
  Loop loop(4096);
  Peer peer;
  peer.client.hides = peer.client.reads_on = true;
  peer.client.awaits_end = false;
  for (int i = 0; i < 100; i++) peer.client.sends(text("x"));
  peer.client.sends(close_frame(1000));
  adopt(loop, peer.client, peer.log);
  loop.run_while_connected();
  EXPECT_EQ(peer.log.events.size(), 102u);
}

TEST(LoopRun, GivesConnectionsWithBytesInsideTheirTurns) {
  Loop loop(4096);
  std::vector<Peer> peers(3);
  std::string order;
  for (size_t i = 0; i < peers.size(); i++) {
    Peer& each = peers[i];
    each.client.hides = each.client.reads_on = true;
    for (int n = 0; n < 200; n++) each.client.sends(text("x"));
    each.client.sends(close_frame(1000));
    behave(each.client);
    each.log.then_on_message = [&order, i](Connection&, Opcode, Bytes) { order += char('a' + i); };
    adopt(loop, each.client, each.log);
  }
  run(loop);
  for (Peer& each : peers) each.log.expect_gone();
  // Nobody gets more than a few reads while others wait.
  EXPECT_EQ(order.size(), 600u);
  for (char who : {'a', 'b', 'c'})
    EXPECT_EQ(order.substr(0, 300).find(std::string(20, who)), order.npos);
}

TEST(LoopRun, ForgetsOneThatGoesBeforeItIsReadAgain) {
  Loop loop(4096);
  Peer goes, stays;
  goes.client.failing_write = 1;
  behave(stays.client);
  adopt(loop, stays.client, stays.log);
  adopt(loop, goes.client, goes.log);
  // The close frame cannot be written, behind all that a turn reads.
  run(loop, [&](int turn) {
    if (turn == 3) loop.any_thread_stop(kCloseGoingAway, 60'000);
  });
  goes.log.expect_gone();
  stays.log.expect_gone();
  EXPECT_EQ(goes.log.events.back(), "close 1006");
}

// ---- From other threads -------------------------------------------------------------------------

TEST(LoopPost, RunsTasksInTheOrderOfEachThread) {
  Loop loop(4096);
  constexpr int kThreads = 8, kTasks = 2000;
  std::vector<std::vector<int>> seen(kThreads);
  int left = kThreads * kTasks;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTasks; i++)
        loop.any_thread_post([&, t, i] {
          seen[size_t(t)].push_back(i);
          if (!--left) loop.any_thread_quit();
        });
    });
  loop.run();
  for (std::thread& each : threads) each.join();
  for (const auto& each : seen) {
    ASSERT_EQ(each.size(), size_t(kTasks));
    EXPECT_TRUE(std::is_sorted(each.begin(), each.end()));
  }
}

TEST(LoopPost, TakesTasksThatCanOnlyBeMoved) {
  Loop loop(4096);
  int got = 0;
  loop.any_thread_post([&, number = std::make_unique<int>(7)] { got = *number; });
  loop.any_thread_quit();
  loop.run_while_connected();
  EXPECT_EQ(got, 7);
}

TEST(LoopPost, ATaskMayPostAnother) {
  Loop loop(4096);
  int count = 0;
  std::function<void()> task = [&] {
    if (++count == 100) loop.any_thread_quit();
    else loop.any_thread_post([&] { task(); });
  };
  loop.any_thread_post([&] { task(); });
  loop.run();
  EXPECT_EQ(count, 100);
}

TEST(LoopPost, ATaskMaySendToAConnection) {
  Loop loop(4096);
  Peer peer;
  behave(peer.client);
  adopt(loop, peer.client, peer.log);
  std::string large(100'000, 'l');
  peer.client.room = 1;
  run(loop, [&](int turn) {
    if (turn == 3) peer.log.connection->send(Opcode::text, bytes_of(large));
    if (turn == 6) peer.client.room = kUnlimited;
    if (turn == 9) peer.log.connection->close(1000, "");
  });
  EXPECT_EQ(peer.client.frames(), (Events{message_event(Opcode::text, large), "close 1000"}));
  EXPECT_EQ(peer.log.events, (Events{"open", "close 1000, clean"}));
}

// ---- Destroying ---------------------------------------------------------------------------------

TEST(LoopEnd, DestroysTasksAndConnectionsThatItNeverGotTo) {
  Peer peer;
  auto loop = std::make_unique<Loop>(4096);
  bool ran = false, destroyed = false;
  std::shared_ptr<void> held(nullptr, [&](void*) { destroyed = true; });
  loop->any_thread_post([&, h = std::move(held)] { ran = true; });
  adopt(*loop, peer.client, peer.log, "never parsed");
  loop.reset();
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(ran);
  EXPECT_TRUE(peer.log.events.empty());
  EXPECT_TRUE(peer.client.destroyed);
  EXPECT_EQ(peer.log.destroyed, 1);
}

TEST(LoopEnd, TellsTheHandlersOfConnectionsThatAreStillThere) {
  std::vector<Peer> peers(4);
  auto loop = std::make_unique<Loop>(4096);
  peers[0].client.room = 1;
  peers[0].log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("waits")); };
  peers[1].log.then_on_open = [](Connection& c) { c.close(1000, ""); };
  peers[2].log.then_on_close = [](Connection& c) {
    EXPECT_EQ(c.send(Opcode::text, bytes_of("late")), SendResult::closed);
    EXPECT_FALSE(c.close(1000, "late"));
  };
  for (Peer& each : peers) adopt(*loop, each.client, each.log);
  // Ends the run by an exception, which nothing else does.
  loop->any_thread_post([] { throw 1; });
  EXPECT_THROW(loop->run(), int);
  for (Peer& each : peers) EXPECT_EQ(each.log.closed, 0);
  loop.reset();
  for (Peer& each : peers) {
    each.log.expect_gone();
    EXPECT_EQ(each.log.events, (Events{"open", "close 1006"}));
    EXPECT_TRUE(each.client.destroyed);
  }
  EXPECT_TRUE(peers[2].client.received.empty());
}

}  // namespace
}  // namespace mws
