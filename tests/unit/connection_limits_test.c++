// What limits a connection, and what is counted of it.
#include <gtest/gtest.h>

#include <memory>

#include "src/base/clock.h"
#include "src/engine/budget.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

constexpr uint64_t kShort_ms = 20;  // and longer than a turn of the loop takes

struct Counted final : Meters {
  explicit Counted(Counters& of) : all(of) {}
  Counters& counters(unsigned) noexcept override { return all; }
  LoopCounters* loop_counters() noexcept override { return nullptr; }
  Counters& all;
};

struct WatchedSite final : Site {
  explicit WatchedSite(const ConnectionLimits& its_limits) : Site(0, its_limits) {}
  void connection_opened(const Connection&) const noexcept override { opened++; }
  void connection_ended(const Connection& c, uint16_t code, std::string_view,
                        bool) const noexcept override {
    ended_code = code;
    cause = c.cause();
    totals = c.totals();
  }
  void limit_reached(const Connection&, Cause cause_of_it) const noexcept override {
    reached.push_back(cause_of_it);
  }
  mutable int opened = 0, ended_code = 0;
  mutable Cause cause{};
  mutable Connection::Totals totals;
  mutable std::vector<Cause> reached;
};

struct ConnectionLimitsTest : testing::Test {
  Counters counters;
  Client client;
  Log log;
  Budget budget{100'000};
  Loop loop{4096, std::make_unique<Counted>(counters), &budget};
  ConnectionLimits limits;
  std::unique_ptr<WatchedSite> site;

  ConnectionLimitsTest() { behave(client); }
  void adopt_limited(Client& from, Log& to) {
    if (!site) site = std::make_unique<WatchedSite>(limits);
    loop.any_thread_adopt(std::make_unique<Connection>(from.transport(), to, SessionSettings{},
                                                       make_ref<Log::Mark>(to), *site),
                          {});
  }
  void adopt_limited() { adopt_limited(client, log); }
  uint64_t ended_by(Cause cause) const { return counters.causes[size_t(cause)].value(); }
  void expect_end(Cause cause, uint16_t code) {
    log.expect_gone();
    EXPECT_EQ(site->cause, cause);
    EXPECT_EQ(site->ended_code, code);
    EXPECT_EQ(ended_by(cause), 1u);
    EXPECT_EQ(counters.closed[code_index(code)].value(), 1u);
    EXPECT_EQ(counters.open[0].value(), 0u);
    EXPECT_EQ(counters.buffered_bytes.value(), 0u);
    EXPECT_EQ(budget.total(), 0u);
  }
};

// --- Time ---

TEST_F(ConnectionLimitsTest, ASilentClientIsPingedAndItsPongIsMeasuredAndKeptFromTheEndpoint) {
  limits.ping_ms = kShort_ms;
  limits.pong_timeout_ms = 3'600'000;
  int answered = 0;
  client.on_received = [&, seen = size_t(0)]() mutable {
    std::string_view wire = std::string_view(client.received).substr(seen);
    seen = client.received.size();
    if (!wire.starts_with("\x89\x04")) return;
    if (++answered < 4) client.sends(pong(wire.substr(2)));
    else client.sends(close_frame(1000));
  };
  client.awaits_end = false;
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
  EXPECT_EQ(counters.pings_sent.value(), 4u);
  EXPECT_EQ(counters.pongs_received.value(), 3u);
  uint64_t measured = 0;
  for (const Counter& count : counters.round_trip.counts) measured += count.value();
  EXPECT_EQ(measured, 3u);
  expect_end(Cause::client, 1000);
}

TEST_F(ConnectionLimitsTest, AClientThatStaysSilentAfterAPingIsEnded) {
  limits.ping_ms = limits.pong_timeout_ms = kShort_ms;
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
  EXPECT_EQ(counters.pings_sent.value(), 1u);
  EXPECT_EQ(site->reached, std::vector<Cause>{Cause::ping});
  expect_end(Cause::ping, 1006);
}

TEST_F(ConnectionLimitsTest, AnythingThatItSendsIsASignOfLife) {
  limits.ping_ms = limits.pong_timeout_ms = kShort_ms;
  int pings = 0;
  client.on_received = [&, seen = size_t(0)]() mutable {
    if (client.received.size() == seen) return;
    seen = client.received.size();
    if (++pings < 3) client.sends(text("here"));
    else client.breaks();
  };
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "text here", "text here", "close 1006"}));
  expect_end(Cause::lost, 1006);
}

TEST_F(ConnectionLimitsTest, WhoIsNotReadIsNotTakenForSilent) {
  limits.ping_ms = limits.pong_timeout_ms = kShort_ms;
  log.then_on_open = [](Connection& c) {
    c.pause(Connection::by_endpoint);
    c.set_timer(0, 6 * kShort_ms);
  };
  log.then_on_timer = [](Connection& c, uint32_t) { c.close(1000, "time"); };
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
  expect_end(Cause::handler, 1000);
}

TEST_F(ConnectionLimitsTest, ALoopThatStoodStillTakesNobodyForSilent) {
  limits.ping_ms = limits.pong_timeout_ms = kShort_ms;
  client.on_received = [&, seen = size_t(0)]() mutable {
    std::string_view wire = std::string_view(client.received).substr(seen);
    seen = client.received.size();
    if (wire.starts_with("\x89\x04")) client.sends(close_frame(1000));
  };
  client.awaits_end = false;
  log.then_on_open = [](Connection& c) { c.set_timer(0, 1); };
  log.then_on_timer = [](Connection&, uint32_t) {
    uint64_t end_ms = monotonic_ms() + 4 * kShort_ms;
    while (monotonic_ms() < end_ms) {
    }
  };
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
}

TEST_F(ConnectionLimitsTest, WhoReadsNothingOfWhatWaitsIsEndedToo) {
  limits.ping_ms = limits.pong_timeout_ms = kShort_ms;
  client.room = 10;
  log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of(std::string(1000, 'x'))); };
  adopt_limited();
  run(loop);
  expect_end(Cause::ping, 1006);
}

TEST_F(ConnectionLimitsTest, WithoutMessagesAConnectionIsClosedWhenItsIdleTimeIsOver) {
  limits.idle_ms = kShort_ms;
  adopt_limited();
  run(loop);
  EXPECT_EQ(client.frames(), Events{"close 1001"});
  expect_end(Cause::idle, 1001);
}

TEST_F(ConnectionLimitsTest, MessagesInEitherDirectionKeepItOpen) {
  limits.idle_ms = 4 * kShort_ms;
  int sent = 0;
  log.then_on_open = [](Connection& c) { c.set_timer(0, kShort_ms); };
  log.then_on_timer = [&](Connection& c, uint32_t) {
    if (++sent > 8) return;
    c.send(Opcode::text, bytes_of("tick"));
    c.set_timer(0, kShort_ms);
  };
  adopt_limited();
  run(loop);
  EXPECT_EQ(sent, 9);
  expect_end(Cause::idle, 1001);
}

TEST_F(ConnectionLimitsTest, ALifetimeEndsWhenTheMessageThatIsArrivingHasArrived) {
  limits.lifetime_ms = kShort_ms;
  client.sends(text("late").substr(0, 7));
  adopt_limited();
  log.then_on_open = [](Connection& c) { c.set_timer(0, 3 * kShort_ms); };
  log.then_on_timer = [&](Connection&, uint32_t) {
    EXPECT_EQ(client.frames(), Events{});
    client.sends(text("late").substr(7));
  };
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "text late", "close 1001, clean"}));
  expect_end(Cause::lifetime, 1001);
}

TEST_F(ConnectionLimitsTest, AMessageThatNeverEndsDoesNotKeepItOpenPastItsLifetime) {
  limits.lifetime_ms = kShort_ms;
  limits.close_timeout_ms = kShort_ms;
  client.sends(text("no end", more));
  adopt_limited();
  run(loop);
  EXPECT_EQ(client.frames(), Events{"close 1001"});
  expect_end(Cause::lifetime, 1001);
}

// --- Rates ---

TEST_F(ConnectionLimitsTest, MoreMessagesThanAllowedWaitAndNoneIsLost) {
  limits.messages = {100, 3};
  std::string all;
  Events expected{"open"};
  for (int i = 0; i < 10; i++) {
    all += text(std::to_string(i));
    expected.push_back("text " + std::to_string(i));
  }
  expected.push_back("close 1000, clean");
  client.sends(all + close_frame(1000));
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, expected);
  EXPECT_GE(counters.rate_pauses.value(), 2u);
  EXPECT_EQ(site->reached[0], Cause::rate);
  expect_end(Cause::client, 1000);
}

TEST_F(ConnectionLimitsTest, MoreMessagesThanAllowedCloseWhereTheSiteSaysSo) {
  limits.messages = {1, 3};
  limits.rate_closes = true;
  client.sends(text("1") + text("2") + text("3") + text("4") + text("5"));
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "text 1", "text 2", "text 3", "close 1008, clean"}));
  expect_end(Cause::rate, 1008);
}

TEST_F(ConnectionLimitsTest, MoreBytesThanAllowedWait) {
  limits.bytes = {100'000, 1000};
  client.sends(text(std::string(2000, 'a')));
  client.sends(text(std::string(2000, 'b')));
  client.sends(close_frame(1000));
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events.size(), 4u);
  EXPECT_GE(counters.rate_pauses.value(), 2u);
  expect_end(Cause::client, 1000);
}

TEST_F(ConnectionLimitsTest, MoreBytesThanAllowedClose) {
  limits.bytes = {1000, 1000};
  limits.rate_closes = true;
  client.sends(text("fine"));
  const std::string long_text(2000, 'a');
  client.sends(text(long_text));
  client.sends(text("too late"));
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "text fine", message_event(Opcode::text, long_text),
                                "close 1008, clean"}));
  expect_end(Cause::rate, 1008);
}

TEST_F(ConnectionLimitsTest, AFloodOfControlFramesCloses) {
  limits.control_frames = {10, 20};
  std::string flood;
  for (int i = 0; i < 100; i++) flood += i % 2 ? ping("p") : pong("p");
  client.sends(flood);
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1008, clean"}));
  EXPECT_GE(counters.pings_received.value() + counters.pongs_received.value(), 21u);
  EXPECT_EQ(site->reached, std::vector{Cause::control_rate});
  expect_end(Cause::control_rate, 1008);
}

// --- Clients that read too slowly ---

TEST_F(ConnectionLimitsTest, ASlowClientIsPaused) {
  limits.high_water = 1000;
  client.room = 0;
  log.then_on_open = [](Connection& c) {
    EXPECT_EQ(c.send(Opcode::text, bytes_of(std::string(900, 'x'))), SendResult::sent);
    c.flush();
    EXPECT_EQ(c.send(Opcode::text, bytes_of("y")), SendResult::queued);
    EXPECT_EQ(c.send(Opcode::text, bytes_of(std::string(900, 'x'))), SendResult::high_water);
  };
  adopt_limited();
  client.sends(text("not read"));
  run(loop, [&](int turn) {
    if (turn == 20) {
      EXPECT_EQ(log.events, Events{"open"});
      EXPECT_GT(counters.buffered_bytes.value(), 1800u);
      EXPECT_GT(budget.total(), 1800u);
      client.breaks();
      client.failing_write = int(client.writes.size()) + 1;
      log.connection->run([&] { log.connection->abort(); });
    }
  });
  EXPECT_EQ(counters.slow_pauses.value(), 1u);
  EXPECT_GT(site->totals.most_buffered, 1800u);
  expect_end(Cause::handler, 1006);
}

TEST_F(ConnectionLimitsTest, ASlowClientIsClosed) {
  limits.high_water = 1000;
  limits.slow = ConnectionLimits::Slow::close;
  limits.close_timeout_ms = kShort_ms;
  client.room = 0;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of(std::string(2000, 'x')));
    c.flush();
    EXPECT_EQ(c.send(Opcode::text, bytes_of("y")), SendResult::high_water);
    EXPECT_EQ(c.send(Opcode::text, bytes_of("z")), SendResult::closed);
  };
  adopt_limited();
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
  expect_end(Cause::slow, 1006);
}

TEST_F(ConnectionLimitsTest, AMessageThatIsLongerThanTheBufferMakesNobodySlow) {
  limits.high_water = 1000;
  limits.slow = ConnectionLimits::Slow::close;
  client.room = 0;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of("x"));
    c.flush();
    EXPECT_EQ(c.send(Opcode::text, bytes_of(std::string(5000, 'x'))), SendResult::high_water);
  };
  log.then_on_drained = [](Connection& c) { c.close(1000, ""); };
  adopt_limited();
  run(loop, [&](int turn) {
    if (turn != 20) return;
    client.room = kUnlimited;
    log.connection->run([&] { log.connection->flush(); });
  });
  expect_end(Cause::handler, 1000);
}

TEST_F(ConnectionLimitsTest, ADroppedMessageIsDroppedWithAllOfItsPieces) {
  limits.high_water = 1000;
  limits.slow = ConnectionLimits::Slow::drop;
  client.room = 0;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of(std::string(2000, 'x')));
    c.flush();
    EXPECT_EQ(c.send_fragment(Opcode::text, bytes_of("one"), false), SendResult::dropped);
  };
  log.then_on_drained = [](Connection& c) {
    EXPECT_EQ(c.send_fragment(Opcode::text, bytes_of("two"), false), SendResult::dropped);
    EXPECT_EQ(c.send_fragment(Opcode::text, bytes_of("three"), true), SendResult::dropped);
    EXPECT_EQ(c.send_fragment(Opcode::text, bytes_of("whole"), true), SendResult::sent);
    c.close(1000, "");
  };
  adopt_limited();
  run(loop, [&](int turn) {
    if (turn != 20) return;
    client.room = kUnlimited;
    log.connection->run([&] { log.connection->flush(); });
  });
  EXPECT_EQ(client.frames().size(), 3u);
  EXPECT_EQ(client.frames()[1], "text whole");
  EXPECT_EQ(counters.dropped.value(), 1u);
}

TEST_F(ConnectionLimitsTest, WhatManyShareIsNotCountedForEach) {
  constexpr int kReaders = 20;  // 1 MB, if it were
  Budget enough(600'000);
  Loop own(4096, std::make_unique<Counted>(counters), &enough);
  std::vector<Client> readers(kReaders);
  std::vector<Log> logs(kReaders);
  auto message =
      std::make_shared<const PreparedMessage>(Opcode::binary, bytes_of(std::string(50'000, 'x')));
  int open = 0;
  for (int i = 0; i < kReaders; i++) {
    readers[size_t(i)].room = 0;
    logs[size_t(i)].then_on_open = [&](Connection& c) {
      open++;
      c.send(message);
    };
    own.any_thread_adopt(make_connection(readers[size_t(i)], logs[size_t(i)]), {});
  }
  run(own, [&](int turn) {
    if (turn != 20) return;
    EXPECT_EQ(open, kReaders);
    EXPECT_EQ(ended_by(Cause::memory), 0u);
    for (Log& each : logs) each.connection->run([&] { each.connection->abort(); });
  });
  EXPECT_EQ(enough.total(), 0u);
}

TEST_F(ConnectionLimitsTest, MessagesForASlowClientAreDroppedWhole) {
  limits.high_water = 1000;
  limits.slow = ConnectionLimits::Slow::drop;
  client.room = 0;
  const std::string long_text(2000, 'x');
  log.then_on_open = [&](Connection& c) {
    c.send(Opcode::text, bytes_of(long_text));
    c.flush();
    EXPECT_EQ(c.send(Opcode::text, bytes_of("dropped")), SendResult::dropped);
    EXPECT_EQ(c.send_fragment(Opcode::text, bytes_of("dropped"), false), SendResult::dropped);
    EXPECT_EQ(c.send(std::make_shared<PreparedMessage>(Opcode::text, bytes_of("dropped"))),
              SendResult::dropped);
  };
  log.then_on_drained = [](Connection& c) {
    c.send(Opcode::text, bytes_of("after"));
    c.close(1000, "");
  };
  adopt_limited();
  run(loop, [&](int turn) {
    if (turn != 20) return;
    client.room = kUnlimited;
    client.sends(text("reads again"));
    log.connection->run([&] { log.connection->flush(); });
  });
  EXPECT_EQ(client.frames(),
            (Events{message_event(Opcode::text, long_text), "text after", "close 1000"}));
  EXPECT_EQ(counters.dropped.value(), 3u);
  EXPECT_EQ(counters.messages[Counters::sent][Counters::text].value(), 2u);
  expect_end(Cause::handler, 1000);
}

TEST_F(ConnectionLimitsTest, PastTheBudgetWhoHasMostWaitingGoes) {
  Client slowest;
  behave(slowest);
  Log of_slowest;
  client.room = slowest.room = 0;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of(std::string(50'000, 'x')));
  };
  of_slowest.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of(std::string(60'000, 'x')));
  };
  adopt_limited(slowest, of_slowest);
  adopt_limited();
  run(loop, [&](int turn) {
    if (turn != 20) return;
    EXPECT_EQ(of_slowest.events, (Events{"open", "close 1013"}));
    EXPECT_EQ(ended_by(Cause::memory), 1u);
    EXPECT_EQ(log.events, Events{"open"});
    log.connection->run([&] { log.connection->abort(); });
  });
  of_slowest.expect_gone();
  expect_end(Cause::handler, 1006);
}

// --- Counting ---

TEST_F(ConnectionLimitsTest, EverythingIsCounted) {
  log.echoes = true;
  client.sends(text("four") + binary("seven77") + ping("p") + close_frame(4001));
  adopt_limited();
  run(loop);
  for (auto direction : {Counters::received, Counters::sent}) {
    EXPECT_EQ(counters.messages[direction][Counters::text].value(), 1u);
    EXPECT_EQ(counters.messages[direction][Counters::binary].value(), 1u);
    EXPECT_EQ(counters.bytes[direction][Counters::text].value(), 4u);
    EXPECT_EQ(counters.bytes[direction][Counters::binary].value(), 7u);
    EXPECT_EQ(site->totals.messages[direction], 2u);
    EXPECT_EQ(site->totals.bytes[direction], 11u);
  }
  EXPECT_EQ(counters.pings_received.value(), 1u);
  EXPECT_EQ(counters.opened[0].value(), 1u);
  EXPECT_EQ(site->opened, 1);
  expect_end(Cause::client, 4001);
}

TEST_F(ConnectionLimitsTest, WhyItEndedIsWhatCameFirst) {
  client.sends(std::string("\xff\xff", 2));
  adopt_limited();
  run(loop);
  expect_end(Cause::protocol, 1002);
}

TEST(CounterTest, CloseCodesShareTheLastCounterOrThatOfTheirRange) {
  EXPECT_EQ(kCountedCodes[code_index(1000)], 1000);
  EXPECT_EQ(kCountedCodes[code_index(3999)], 3000);
  EXPECT_EQ(kCountedCodes[code_index(4000)], 4000);
  EXPECT_EQ(code_index(1004), kCodes - 1);
  EXPECT_EQ(code_index(5000), kCodes - 1);
}

TEST(CounterTest, AHistogramsBoundsAreInclusive) {
  EXPECT_EQ(Histogram::bucket_of(0), 0u);
  EXPECT_EQ(Histogram::bucket_of(1000), 0u);
  EXPECT_EQ(Histogram::bucket_of(1001), 1u);
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBounds);
}

}  // namespace
}  // namespace mws
