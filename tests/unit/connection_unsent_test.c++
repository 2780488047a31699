// Connections over a transport that takes bytes before the client's socket does, as TLS does.
#include <gtest/gtest.h>

#include <random>

#include "src/engine/connection.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

// What the test decides and sees. It outlives the transport.
struct Held {
  size_t takes = 100;        // bytes, of a write with nothing unsent
  size_t room = kUnlimited;  // what goes out
  std::string farewell;      // what finish_writing() has to send
  bool fails = false;        // writes do
  std::string received, held;
  int writes = 0, finished = 0;
  size_t unsent_when_finished = 0;
  bool destroyed = false;
};

// Its descriptor is writable always, and readable as the client's.
class HoldingTransport final : public Transport {
 public:
  HoldingTransport(Client& client, Held& held) : inner_(client.transport()), held_(held) {}
  ~HoldingTransport() override { held_.destroyed = true; }
  int descriptor() const override { return inner_->descriptor(); }
  IoResult read(MutableBytes into) override { return inner_->read(into); }

  IoResult write(std::span<const iovec> pieces) override {
    held_.writes++;
    if (held_.fails) return {IoResult::failed};
    bool moved = send_on();
    size_t taken = 0;
    for (const iovec& piece : pieces) {
      if (unsent_ && !taken) break;
      size_t size = std::min(piece.iov_len, held_.takes - taken);
      held_.held.append(static_cast<const char*>(piece.iov_base), size);
      taken += size;
    }
    if (taken) send_on();
    return {taken || moved ? IoResult::done : IoResult::again, taken};
  }

  bool finish_writing() override {
    held_.finished++;
    held_.unsent_when_finished = unsent_;
    held_.held += held_.farewell;
    send_on();
    return true;
  }

 private:
  bool send_on() {
    size_t size = std::min(held_.room, held_.held.size());
    held_.received += held_.held.substr(0, size);
    held_.held.erase(0, size);
    if (held_.room != kUnlimited) held_.room -= size;
    unsent_ = held_.held.size();
    return size > 0;
  }
  std::unique_ptr<Transport> inner_;
  Held& held_;
};

struct ConnectionUnsentTest : testing::Test {
  Client client;
  Held held;
  Log log;
  Loop loop{64 * 1024};

  void play(std::function<void(int)> between) {
    loop.any_thread_adopt(
        std::make_unique<Connection>(std::make_unique<HoldingTransport>(client, held), log,
                                     SessionSettings{}, make_ref<Log::Mark>(log)),
        {});
    run(loop, std::move(between));
    log.expect_gone();
    EXPECT_TRUE(held.destroyed);
  }
  void leave() {
    client.sends(close_frame(1000));
    client.ends();
  }
};

TEST_F(ConnectionUnsentTest, IsSentOnAsSoonAsThereIsRoomThenNotAskedFor) {
  held.room = 0;
  log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("hello")); };
  int writes = 0;
  play([&](int turn) {
    if (turn == 5) {
      EXPECT_EQ(held.received, "");
      EXPECT_EQ(log.connection->buffered_amount(), 7u);
      EXPECT_GT(held.writes, writes);
      held.room = kUnlimited;
    }
    if (turn == 10) {
      EXPECT_EQ(frames_of(held.received), (Events{"text hello"}));
      EXPECT_EQ(log.connection->buffered_amount(), 0u);
    }
    if (turn == 20) {
      EXPECT_EQ(held.writes, writes);
      leave();
    }
    writes = held.writes;
  });
}

TEST_F(ConnectionUnsentTest, CountsForWhatASendSaysAndForWhatIsBuffered) {
  held.room = 0;
  held.takes = 4 << 20;
  bool sent = false;
  play([&](int turn) {
    if (turn == 3) {
      Connection& c = *log.connection;
      EXPECT_EQ(c.send(Opcode::text, bytes_of("12345678")), SendResult::queued);
      EXPECT_EQ(c.buffered_amount(), 10u);
      EXPECT_EQ(c.send(Opcode::text, bytes_of("12345678")), SendResult::queued);
      EXPECT_EQ(c.buffered_amount(), 20u);  // ten of them queued
      EXPECT_EQ(held.held.size(), 10u);
      EXPECT_EQ(c.send(Opcode::binary, bytes_of(std::string(1 << 20, 'x'))),
                SendResult::high_water);
      sent = true;
    }
    if (turn == 6) held.room = kUnlimited, leave();
  });
  EXPECT_TRUE(sent);
  EXPECT_EQ(frames_of(held.received).size(), 4u);
}

TEST_F(ConnectionUnsentTest, AboveHighWaterPausesReadingThoughNothingIsQueued) {
  held.room = 0;
  held.takes = 4 << 20;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::binary, bytes_of(std::string(Connection::kHighWater, 'x')));
  };
  client.sends(text("unread"));
  play([&](int turn) {
    if (turn == 10) {
      EXPECT_GT(held.held.size(), Connection::kHighWater);
      EXPECT_EQ(client.reads, 0);
      EXPECT_EQ(log.events, (Events{"open"}));
      held.room = 1000;
    }
    if (turn == 20) {
      EXPECT_LT(held.held.size(), Connection::kHighWater);
      EXPECT_EQ(log.events, (Events{"open", "text unread"}));
      held.room = kUnlimited;
      leave();
    }
  });
}

TEST_F(ConnectionUnsentTest, OrderIsKeptHoweverLittleTheTransportTakes) {
  std::mt19937 random(5);
  Events expected;
  held.takes = 1000;
  held.room = 0;
  int count = 0;
  play([&](int turn) {
    if (turn % 3 == 0 && count < 100) {
      std::string payload = std::to_string(count++) + std::string(random() % 5000, '.');
      expected.push_back(message_event(Opcode::text, payload));
      log.connection->send(Opcode::text, bytes_of(payload));
      if (count == 100) leave();
    }
    held.room += random() % 2000;
  });
  expected.push_back("close 1000");
  EXPECT_EQ(frames_of(held.received), expected);
}

TEST_F(ConnectionUnsentTest, FinishingWaitsForIt) {
  held.room = 0;
  log.echoes = true;
  client.sends(text("hello") + close_frame(1000));
  play([&](int turn) {
    if (turn < 10) {
      EXPECT_EQ(held.finished, 0);
    } else if (turn == 10) {
      EXPECT_EQ(log.events, (Events{"open", "text hello", "close 1000, clean"}));
      held.room = kUnlimited;
    }
    if (turn == 20) {
      EXPECT_EQ(held.finished, 1);
      client.ends();
    }
  });
  EXPECT_EQ(held.unsent_when_finished, 0u);
  EXPECT_EQ(frames_of(held.received), (Events{"text hello", "close 1000"}));
}

TEST_F(ConnectionUnsentTest, WhatFinishingLeavesIsSentOnWhileTheClientsEndIsAwaited) {
  held.farewell = "farewell";
  held.room = 4;  // the close frame, no more
  client.sends(close_frame(1000));
  play([&](int turn) {
    if (turn == 10) {
      EXPECT_EQ(held.finished, 1);
      EXPECT_EQ(held.held, "farewell");
      held.room = kUnlimited;
    }
    if (turn == 20) {
      EXPECT_TRUE(held.received.ends_with("farewell"));
      client.ends();
    }
  });
  EXPECT_EQ(held.finished, 1);
}

TEST(ConnectionUnsent, FinishingIsToldToAClientThatEndedFirst) {
  for (bool waits : {false, true}) {
    Client each_client;
    Held each;
    Log each_log;
    Loop each_loop(4096);
    each_log.echoes = true;
    each.farewell = "farewell";
    if (waits) each.room = 0;
    each_client.sends(text("hello"));
    each_client.ends();
    each_loop.any_thread_adopt(
        std::make_unique<Connection>(std::make_unique<HoldingTransport>(each_client, each),
                                     each_log, SessionSettings{}, make_ref<Log::Mark>(each_log)),
        {});
    run(each_loop, [&](int turn) {
      if (turn == 10) {
        EXPECT_EQ(each.finished, waits ? 0 : 1);
        each.room = kUnlimited;
      }
    });
    each_log.expect_gone();
    EXPECT_EQ(each.finished, 1);
    EXPECT_EQ(each.unsent_when_finished, 0u);
    EXPECT_EQ(each.received, "\x81\x05hellofarewell");
  }
}

TEST_F(ConnectionUnsentTest, AWriteThatFailsWhileSendingOnEndsTheConnection) {
  held.room = 0;
  log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of("hello")); };
  play([&](int turn) {
    if (turn == 5) held.fails = true;
  });
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
  EXPECT_EQ(held.finished, 0);
}

TEST_F(ConnectionUnsentTest, ThatNeverGoesEndsByTheDeadline) {
  held.room = 0;
  log.then_on_open = [](Connection& c) {
    c.send(Opcode::text, bytes_of("hello"));
    c.close(1000, "");
  };
  play([&](int turn) {
    if (turn == 5) loop.any_thread_stop(kCloseGoingAway, 10);
  });
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
  EXPECT_EQ(held.received, "");
}

}  // namespace
}  // namespace mws
