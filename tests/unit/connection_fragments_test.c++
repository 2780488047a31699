// What a connection sends beside whole messages: fragments, pings, and messages that are shared.
#include <gtest/gtest.h>

#include "tests/unit/deflate_support.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

struct ConnectionFragmentsTest : testing::Test {
  Client client;
  Log log;
  Loop loop{4096};
  ConnectionFragmentsTest() { behave(client); }
  SendResult send(Connection& c, std::string_view what) {
    return c.send(Opcode::text, bytes_of(what));
  }
  SendResult piece(Connection& c, std::string_view what, bool last = false) {
    return c.send_fragment(Opcode::text, bytes_of(what), last);
  }
};

TEST_F(ConnectionFragmentsTest, OtherMessagesWaitForTheLastPieceAndControlFramesDoNot) {
  auto shared = std::make_shared<PreparedMessage>(Opcode::binary, bytes_of("shared"));
  log.then_on_open = [&](Connection& c) {
    EXPECT_EQ(piece(c, "a"), SendResult::sent);
    EXPECT_EQ(send(c, "one"), SendResult::queued);
    EXPECT_EQ(c.send(shared), SendResult::queued);
    EXPECT_EQ(c.buffered_amount(), 3u + 3u + 6u) << "the piece in the cork, and what waits";
    EXPECT_EQ(c.ping(bytes_of("p")), SendResult::queued);
    EXPECT_EQ(c.pong({}), SendResult::queued);
    EXPECT_EQ(piece(c, "b"), SendResult::sent) << "what waits for the last does not count";
    EXPECT_EQ(piece(c, "c", true), SendResult::sent);
    EXPECT_EQ(send(c, "two"), SendResult::sent);
    EXPECT_EQ(shared.use_count(), 1);
  };
  int drained = 0;
  log.then_on_drained = [&](Connection& c) {
    drained++;
    c.close(1000, "");
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(client.frames(), (Events{"first text a", "ping p", "pong", "piece b", "last c",
                                     "text one", "binary shared", "text two", "close 1000"}));
  EXPECT_EQ(drained, 1);
}

TEST_F(ConnectionFragmentsTest, DrainedComesBetweenPiecesThoughOtherMessagesWaitForTheLast) {
  client.room = 0;
  int drained = 0;
  log.then_on_open = [&](Connection& c) {
    piece(c, "a");
    send(c, "other");
  };
  log.then_on_drained = [&](Connection& c) {
    if (++drained == 1) piece(c, "b", true);
    else c.close(1000, "");
  };
  adopt(loop, client, log);
  run(loop, [&](int turn) {
    if (turn == 20) client.room = kUnlimited;
    if (turn == 1000 && !drained) log.connection->abort();
  });
  EXPECT_EQ(client.frames(), (Events{"first text a", "last b", "text other", "close 1000"}));
  EXPECT_EQ(drained, 2);
}

TEST_F(ConnectionFragmentsTest, MessagesThatWaitAreDroppedByACloseAndDoNotHoldUpItsAnswer) {
  auto shared = std::make_shared<PreparedMessage>(
      Opcode::binary, bytes_of(std::string(Connection::kHighWater + 1, 'x')));
  log.then_on_open = [&](Connection& c) {
    piece(c, "a");
    EXPECT_EQ(c.send(shared), SendResult::high_water);
    c.close(1000, "");
    EXPECT_EQ(c.buffered_amount(), 3u + 4u) << "the cork's";
    EXPECT_EQ(shared.use_count(), 1);
    EXPECT_EQ(piece(c, "b"), SendResult::closed);
  };
  adopt(loop, client, log);
  run(loop);
  EXPECT_EQ(log.events, (Events{"open", "close 1000, clean"}));
  EXPECT_EQ(client.frames(), (Events{"first text a", "close 1000"}));
}

TEST_F(ConnectionFragmentsTest, MessagesThatWaitAreDroppedWhenTheClientCloses) {
  auto shared = std::make_shared<PreparedMessage>(Opcode::binary, bytes_of("x"));
  log.then_on_open = [&](Connection& c) {
    piece(c, "a");
    c.send(shared);
  };
  client.sends(close_frame(1000));
  adopt(loop, client, log);
  run(loop, [&](int) { EXPECT_EQ(shared.use_count(), log.closed ? 1 : 2); });
  EXPECT_EQ(client.frames(), (Events{"first text a", "close 1000"}));
}

// ---- Shared messages ----------------------------------------------------------------------------

TEST_F(ConnectionFragmentsTest, ALongSharedMessageIsKeptUntilItIsWrittenAndAShortOneIsCopied) {
  for (size_t size : {100, 100'000}) {
    SCOPED_TRACE(size);
    Client reader;
    behave(reader);
    Log told;
    Loop own(4096);
    std::string payload(size, 's');
    bool released = false;
    auto message = std::make_shared<const PreparedMessage>(Opcode::text, bytes_of(payload), true,
                                                           [&] { released = true; });
    told.then_on_open = [&](Connection& c) {
      reader.room = 50;
      c.send(Opcode::text, bytes_of("before"));
      c.send(message);
      c.send(Opcode::text, bytes_of("after"));
      message.reset();
      EXPECT_EQ(released, size == 100);
    };
    told.then_on_drained = [&](Connection& c) { c.close(1000, ""); };
    adopt(own, reader, told);
    run(own, [&](int turn) {
      if (turn == 10) {
        EXPECT_EQ(released, size == 100);
        reader.room = kUnlimited;
      }
    });
    EXPECT_TRUE(released);
    EXPECT_EQ(reader.frames(), (Events{"text before", message_event(Opcode::text, payload),
                                       "text after", "close 1000"}));
  }
}

TEST_F(ConnectionFragmentsTest, ASharedMessageThatIsNeverWrittenIsReleasedWithTheConnection) {
  bool released = false;
  std::string payload(100'000, 's');
  auto message = std::make_shared<const PreparedMessage>(Opcode::text, bytes_of(payload), true,
                                                         [&] { released = true; });
  log.then_on_open = [&](Connection& c) {
    client.room = 0;
    c.send(message);
    message.reset();
    EXPECT_FALSE(released);
    c.abort();
  };
  {
    Loop own(4096);
    adopt(own, client, log);
    run(own);
  }
  EXPECT_TRUE(released);
}

TEST_F(ConnectionFragmentsTest, ASharedMessageIsCompressedWhateverWasAgreedOn) {
  for (bool takeover : {false, true}) {
    Client reader;
    behave(reader);
    Log told;
    Loop own(4096);
    DeflateParameters deflate = kDeflate;
    deflate.server_takeover = takeover;
    std::string payload = json(100'000);
    told.then_on_open = [&](Connection& c) {
      auto message = std::make_shared<const PreparedMessage>(Opcode::text, bytes_of(payload));
      reader.room = 10;
      c.send(message);
      message.reset();  // what is sent of it may be memory of its own
    };
    told.then_on_drained = [&](Connection& c) { c.close(1000, ""); };
    own.any_thread_adopt(make_connection(reader, told, 1 << 20, deflate), {});
    run(own, [&](int turn) {
      if (turn == 10) reader.room = kUnlimited;
    });
    EXPECT_EQ(reader.frames(), (Events{joined("compressed text", payload), "close 1000"}));
  }
}

// ---- High water ---------------------------------------------------------------------------------

TEST_F(ConnectionFragmentsTest, AnswersToAClientThatPipelinesAndDoesNotReadStayNearHighWater) {
  constexpr int kRequests = 10'000;
  std::string answer(100'000, 'a');
  client.room = 0;
  std::string requests;
  for (int i = 0; i < kRequests; i++) requests += text("x");
  client.sends(requests);
  int answered = 0;
  size_t most = 0;
  log.then_on_message = [&](Connection& c, Opcode, Bytes) {
    send(c, answer);
    answered++;
    most = std::max(most, c.buffered_amount());
  };
  Loop large(512 * 1024);
  adopt(large, client, log);
  run(large, [&](int turn) {
    if (turn == 50) {
      EXPECT_LT(answered, 20);
      client.on_received = nullptr;
      client.breaks();
      large.any_thread_stop(kCloseGoingAway, 0);
    }
  });
  EXPECT_LE(most, Connection::kHighWater + answer.size() + 100);
  EXPECT_GE(most, Connection::kHighWater);
}

}  // namespace
}  // namespace mws
