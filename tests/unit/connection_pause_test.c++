// Connections that somebody does not want to read, their timers, and when they say that all is
// sent.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "src/base/clock.h"
#include "src/engine/socket_transport.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

struct ConnectionPauseTest : testing::Test {
  Client client;
  Log log;
  Loop loop{4096};
  ConnectionPauseTest() { behave(client); }
};

constexpr Connection::Pauser kBoth[] = {Connection::by_endpoint, Connection::by_host};

TEST_F(ConnectionPauseTest, ByEitherDeliversNothingUntilBothAreOverAndGoesOnWhereItWas) {
  for (auto first : kBoth)
    for (auto second : kBoth) {
      Client talker;
      behave(talker);
      Log told;
      Loop own(4096);
      told.then_on_message = [&](Connection& c, Opcode, Bytes payload) {
        if (text_of(payload) == "one") c.pause(first), c.pause(second);
      };
      talker.sends(text("one") + ping("p") + text("two").substr(0, 4));
      talker.sends(text("two").substr(4) + text("three") + close_frame(1000));
      adopt(own, talker, told);
      run(own, [&](int turn) {
        if (!told.connection) return;
        if (turn == 20) {
          EXPECT_EQ(told.events, (Events{"open", "text one"}));
          EXPECT_EQ(talker.frames(), Events{});
          told.connection->run([&] { told.connection->resume(first); });
        }
        if (turn == 40 && first != second) {
          EXPECT_EQ(told.events, (Events{"open", "text one"}));
          told.connection->run([&] { told.connection->resume(second); });
        }
      });
      EXPECT_EQ(told.events,
                (Events{"open", "text one", "text two", "text three", "close 1000, clean"}));
      EXPECT_EQ(talker.frames(), (Events{"pong p", "close 1000"}));
    }
}

TEST_F(ConnectionPauseTest, InOpenKeepsEarlyBytes) {
  log.then_on_open = [](Connection& c) { c.pause(Connection::by_host); };
  client.sends(text("three") + close_frame(1000));
  adopt(loop, client, log, text("one") + text("two"));
  run(loop, [&](int turn) {
    if (turn != 20) return;
    EXPECT_EQ(log.events, (Events{"open"}));
    log.connection->run([&] { log.connection->resume(Connection::by_host); });
  });
  EXPECT_EQ(log.events,
            (Events{"open", "text one", "text two", "text three", "close 1000, clean"}));
}

TEST_F(ConnectionPauseTest, ThatIsOverBeforeTheCallbackReturnsChangesNothing) {
  log.then_on_message = [](Connection& c, Opcode, Bytes) {
    c.pause(Connection::by_endpoint);
    c.resume(Connection::by_endpoint);
  };
  client.sends(text("one") + text("two") + close_frame(1000));
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "text one", "text two", "close 1000, clean"}));
}

TEST_F(ConnectionPauseTest, StillSendsAndRunsTimersAndTheClosingHandshake) {
  log.then_on_open = [](Connection& c) {
    c.pause(Connection::by_endpoint);
    c.set_timer(3, 1);
  };
  log.then_on_timer = [&](Connection& c, uint32_t id) {
    EXPECT_EQ(id, 3u);
    c.send(Opcode::text, bytes_of("tick"));
    c.close(4000, "enough");
  };
  client.sends(text("unread"));
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(client.frames(), (Events{"text tick", "close 4000 enough"}));
  EXPECT_EQ(log.events, (Events{"open", "close 4000, clean"}));
}

TEST_F(ConnectionPauseTest, EndsWithinTheGraceOfAStop) {
  log.then_on_open = [&](Connection& c) {
    c.pause(Connection::by_host);
    loop.any_thread_stop(kCloseGoingAway, 60'000);
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1001, clean"}));
}

TEST_F(ConnectionPauseTest, IsClosedByADrainWhereNothingHasArrived) {
  log.then_on_open = [&](Connection& c) {
    c.pause(Connection::by_host);
    loop.any_thread_drain(kCloseGoingAway, 0);
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1001, clean"}));
}

TEST_F(ConnectionPauseTest, EndsWhenTheNetworkSaysThatTheClientIsLost) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
  log.then_on_open = [&](Connection& c) {
    c.pause(Connection::by_endpoint);
    close(pair[1]);
  };
  loop.any_thread_adopt(std::make_unique<Connection>(std::make_unique<SocketTransport>(pair[0]),
                                                     log, SessionSettings{}, nullptr),
                        {});
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
}

// ---- Timers -------------------------------------------------------------------------------------

TEST_F(ConnectionPauseTest, TimersAreCalledOnceEachInTheirOrder) {
  std::vector<uint32_t> called;
  log.then_on_open = [](Connection& c) {
    c.set_timer(0, 1);
    c.set_timer(7, 2);
    c.set_timer(1, 1);
    c.cancel_timer(1);
    c.cancel_timer(2);
    c.set_timer(5, UINT64_MAX);
    c.set_timer(0, 3);  // instead
  };
  log.then_on_timer = [&](Connection& c, uint32_t id) {
    called.push_back(id);
    if (id == 0) c.set_timer(4, 0);
    if (id == 4) c.close(1000, "");
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(called, (std::vector<uint32_t>{7, 0, 4}));
}

TEST_F(ConnectionPauseTest, NoTimerIsCalledAfterClose) {
  log.then_on_open = [](Connection& c) {
    for (uint32_t id = 0; id < Connection::kTimers; id++) c.set_timer(id, 1);
    c.abort();
  };
  log.then_on_timer = [](Connection&, uint32_t) { ADD_FAILURE(); };
  log.then_on_close = [](Connection& c) { c.set_timer(0, 1); };
  Client other;
  behave(other);
  Log ticks;
  ticks.then_on_open = [](Connection& c) { c.set_timer(0, 20); };
  ticks.then_on_timer = [](Connection& c, uint32_t) { c.close(1000, ""); };
  adopt(loop, client, log);
  adopt(loop, other, ticks);
  run(loop);
  log.expect_gone();
}

TEST_F(ConnectionPauseTest, ATimerMayEndItsConnection) {
  log.then_on_open = [](Connection& c) { c.set_timer(0, 1), c.set_timer(1, 1); };
  int called = 0;
  log.then_on_timer = [&](Connection& c, uint32_t) {
    called++;
    c.abort();
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(called, 1);
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
}

// ---- Aborting -----------------------------------------------------------------------------------

TEST_F(ConnectionPauseTest, AbortFromAnyCallbackIsToldOnceAndNothingGoesOutAfterIt) {
  for (std::string where : {"open", "message", "drained", "timer", "run"}) {
    SCOPED_TRACE(where);
    Client talker;
    Log told;
    Loop own(4096);
    auto abort = [&](Connection& c, const std::string& here) {
      if (here != where) return;
      c.abort();
      EXPECT_EQ(c.send(Opcode::text, bytes_of("late")), SendResult::closed);
      EXPECT_EQ(c.ping({}), SendResult::closed);
      EXPECT_EQ(c.send_fragment(Opcode::text, {}, false), SendResult::closed);
      EXPECT_FALSE(c.close(1000, ""));
      EXPECT_EQ(told.closed, 0) << "told inside of the call";
    };
    told.then_on_open = [&](Connection& c) {
      abort(c, "open");
      if (where == "drained") talker.room = 1, c.send(Opcode::text, bytes_of("first"));
      if (where == "timer") c.set_timer(0, 1);
    };
    told.then_on_message = [&](Connection& c, Opcode, Bytes) { abort(c, "message"); };
    told.then_on_drained = [&](Connection& c) { abort(c, "drained"); };
    told.then_on_timer = [&](Connection& c, uint32_t) { abort(c, "timer"); };
    if (where == "message") talker.sends(text("one") + text("two"));
    adopt(own, talker, told);
    run(own, [&](int turn) {
      if (turn == 5) talker.room = kUnlimited;
      if (turn == 5 && where == "run")
        told.connection->run([&] { abort(*told.connection, "run"); });
    });
    EXPECT_EQ(told.events.back(), "close 1006");
    EXPECT_EQ(told.closed, 1);
    EXPECT_EQ(talker.frames(), where == "drained" ? Events{"text first"} : Events{});
    EXPECT_EQ(told.events.size(), where == "message" ? 3u : 2u);
  }
}

// ---- Drained ------------------------------------------------------------------------------------

TEST_F(ConnectionPauseTest, DrainedIsToldOnceAfterSomethingHadToWaitAndMaySend) {
  int drained = 0;
  log.then_on_open = [&](Connection& c) {
    client.room = 3;
    c.send(Opcode::text, bytes_of("one"));
    c.send(Opcode::text, bytes_of("two"));
  };
  log.then_on_drained = [&](Connection& c) {
    EXPECT_EQ(c.buffered_amount(), 0u);
    if (++drained == 1) {
      client.room = 0;
      EXPECT_EQ(c.send(Opcode::text, bytes_of("three")), SendResult::sent) << "corked";
    } else {
      EXPECT_EQ(c.send(Opcode::text, bytes_of("four")), SendResult::sent);
      c.close(1000, "");
    }
  };
  adopt(loop, client, log);
  run(loop, [&](int turn) {
    if (turn == 10 || turn == 30) {
      EXPECT_EQ(drained, turn / 30);
      client.room = kUnlimited;
    }
  });
  EXPECT_EQ(drained, 2);
  EXPECT_EQ(client.frames(),
            (Events{"text one", "text two", "text three", "text four", "close 1000"}));
}

TEST_F(ConnectionPauseTest, DrainedIsNotToldWhereNothingWaitedNorAfterClose) {
  log.then_on_drained = [](Connection&) { ADD_FAILURE(); };
  log.then_on_message = [&](Connection& c, Opcode, Bytes) {
    client.room = 0;
    c.send(Opcode::text, bytes_of("last"));
    c.close(1000, "");
  };
  log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("one")); };
  client.sends(text("go"));
  adopt(loop, client, log);
  run(loop, [&](int turn) {
    if (turn == 20) client.room = kUnlimited;
  });
  EXPECT_EQ(client.frames(), (Events{"text one", "text last", "close 1000"}));
}

// ---- Being held up ------------------------------------------------------------------------------

TEST_F(ConnectionPauseTest, WhoHoldsUpALoopThatServesManyIsTold) {
  for (bool many : {true, false}) {
    Client talker;
    behave(talker);
    Log told;
    Loop own(4096);
    int slow = 0;
    told.then_on_message = [&](Connection&, Opcode, Bytes) {
      uint64_t begin_ms = coarse_ms();
      while (coarse_ms() - begin_ms <= Loop::kSlow_ms) {
      }
    };
    told.then_on_slow = [&](uint64_t ms) {
      EXPECT_GT(ms, Loop::kSlow_ms);
      slow++;
      if (told.connection) told.connection->close(1000, "");
    };
    talker.sends(text("slow"));
    if (!many) talker.sends(close_frame(1000));
    adopt(own, talker, told);
    if (many) {
      own.any_thread_quit();
      own.run();
    } else {
      run(own);
    }
    EXPECT_EQ(slow > 0, many);
  }
}

}  // namespace
}  // namespace mws
