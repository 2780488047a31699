// What an open connection does with messages; its end is in connection_close_test.c++, its
// backpressure in connection_flow_test.c++.
#include "src/engine/connection.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

size_t sum(const std::vector<size_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), size_t(0));
}

struct ConnectionTest : testing::Test {
  Client client;
  Log log;
  Loop loop{64 * 1024};

  ConnectionTest() { behave(client); }

  void play(std::string_view early = "") {
    adopt(loop, client, log, early);
    run(loop);
    log.expect_gone();
    EXPECT_TRUE(client.destroyed);
  }
};

TEST_F(ConnectionTest, TellsOfOpeningMessagesAndClosingInOrder) {
  client.sends(text("hello"));
  client.sends(binary("\x01\x02"));
  client.sends(close_frame(1000, "bye"));
  play();
  EXPECT_EQ(log.events,
            (Events{"open", "text hello", "binary \\x01\\x02", "close 1000 bye, clean"}));
  EXPECT_EQ(client.frames(), (Events{"close 1000 bye"}));
}

TEST_F(ConnectionTest, AnswersPings) {
  client.sends(ping("are you there"));
  client.sends(close_frame(1000));
  play();
  EXPECT_EQ(client.frames(), (Events{"pong are you there", "close 1000"}));
}

TEST_F(ConnectionTest, OneMessageForManyReachesEachAsItHasAgreed) {
  std::string message = json(2000);
  auto prepared = std::make_shared<const PreparedMessage>(Opcode::text, bytes_of(message));
  Client other;
  Log other_log;
  behave(other);
  for (Log* each : {&log, &other_log})
    each->then_on_open = [&](Connection& c) {
      EXPECT_EQ(c.send(prepared), SendResult::sent);
      c.close(1000, "");
      EXPECT_EQ(c.send(prepared), SendResult::closed);
    };
  loop.any_thread_adopt(make_connection(other, other_log, 1 << 20, kDeflate), {});
  play();
  other_log.expect_gone();
  EXPECT_EQ(client.frames(), (Events{message_event(Opcode::text, message), "close 1000"}));
  EXPECT_EQ(other.frames(),
            (Events{"compressed " + message_event(Opcode::text, message), "close 1000"}));
}

TEST_F(ConnectionTest, WhatIsSentOnOpeningGoesOutInOneWrite) {
  log.then_on_open = [](Connection& c) {
    EXPECT_EQ(c.send(Opcode::text, bytes_of("one")), SendResult::sent);
    EXPECT_EQ(c.send(Opcode::binary, bytes_of("two")), SendResult::sent);
    EXPECT_EQ(c.buffered_amount(), 10u);
  };
  client.sends(close_with(""));
  play();
  ASSERT_EQ(client.writes.size(), 2u);
  EXPECT_EQ(client.writes[0], (std::vector<size_t>{10}));
  EXPECT_EQ(client.frames(), (Events{"text one", "binary two", "close 1005"}));
}

TEST_F(ConnectionTest, EarlyBytesAreParsedBehindTheOpeningAndBeforeWhatIsRead) {
  log.echoes = true;
  client.sends(text("second"));
  client.sends(close_frame(1000));
  play(text("first"));
  EXPECT_EQ(log.events, (Events{"open", "text first", "text second", "close 1000, clean"}));
  EXPECT_EQ(client.frames(), (Events{"text first", "text second", "close 1000"}));
}

TEST_F(ConnectionTest, AMessageMayLieHalfInTheEarlyBytes) {
  std::string stream = text("first") + text("second") + close_frame(1000);
  for (size_t cut = 0; cut <= stream.size(); cut++) {
    Client cut_client;
    Log cut_log;
    behave(cut_client);
    if (cut < stream.size()) cut_client.sends(stream.substr(cut));
    adopt(loop, cut_client, cut_log, stream.substr(0, cut));
    run(loop);
    cut_log.expect_gone();
    EXPECT_EQ(cut_log.events, (Events{"open", "text first", "text second", "close 1000, clean"}))
        << cut;
  }
}

TEST_F(ConnectionTest, LargeEarlyBytesAreEchoedFromTheirOwnMemory) {
  log.echoes = true;
  client.sends(close_frame(1000));
  std::string payload(40'000, 'e');
  play(text(payload) + text(payload));
  EXPECT_EQ(client.frames(), (Events{message_event(Opcode::text, payload),
                                     message_event(Opcode::text, payload), "close 1000"}));
}

TEST_F(ConnectionTest, BytesThatTheTransportHeldFromTheStartAreRead) {
  client.hides = client.reads_on = true;
  client.sends(text("hidden"));
  client.sends(close_frame(1000));
  play();
  EXPECT_EQ(log.events, (Events{"open", "text hidden", "close 1000, clean"}));
}

TEST_F(ConnectionTest, ABatchOfSmallMessagesIsAnsweredByOneWrite) {
  log.echoes = true;
  std::string batch;
  Events expected;
  for (int i = 0; i < 500; i++) {
    batch += text(std::to_string(i));
    expected.push_back("text " + std::to_string(i));
  }
  client.sends(batch);
  client.sends(close_frame(1000));
  play();
  ASSERT_EQ(client.writes.size(), 2u);
  EXPECT_EQ(client.writes[0].size(), 1u);
  expected.push_back("close 1000");
  EXPECT_EQ(client.frames(), expected);
}

TEST_F(ConnectionTest, ALargeEchoIsSentByReferenceInTheSameWriteAsTheOthers) {
  log.echoes = true;
  std::string large(20'000, 'l');
  client.sends(text("before") + text(large) + text("after"));
  client.sends(close_frame(1000));
  play();
  ASSERT_EQ(client.writes.size(), 2u);
  // The small frame and the large one's header, the large payload, the other small frame.
  EXPECT_EQ(client.writes[0], (std::vector<size_t>{8 + 4, large.size(), 7}));
  EXPECT_EQ(client.frames(), (Events{"text before", message_event(Opcode::text, large),
                                     "text after", "close 1000"}));
}

TEST_F(ConnectionTest, RepliesBeyondTheRoomOfTheCorkKeepTheirOrder) {
  std::string large(100'000, 'l'), middle(30'000, 'm');
  log.then_on_message = [&](Connection& c, Opcode, Bytes) {
    for (const std::string& each : {std::string("1"), middle, middle, std::string("2"), large,
                                    std::string("3"), middle, large, std::string("4")})
      EXPECT_EQ(c.send(Opcode::text, bytes_of(each)), SendResult::sent);
  };
  client.sends(text("go"));
  client.sends(close_frame(1000));
  play();
  auto event = [](std::string_view payload) { return message_event(Opcode::text, payload); };
  EXPECT_EQ(client.frames(),
            (Events{"text 1", event(middle), event(middle), "text 2", event(large), "text 3",
                    event(middle), event(large), "text 4", "close 1000"}));
}

TEST_F(ConnectionTest, MessagesLargerThanTheReceiveBufferArriveWholeAndGoBack) {
  log.echoes = true;
  Events expected{"open"}, frames;
  for (size_t size : {64 * 1024 - 8, 64 * 1024, 64 * 1024 + 1, 200'000, 1 << 20}) {
    std::string payload(size, 0);
    for (size_t i = 0; i < size; i++) payload[i] = char(i * 7 >> 5);
    client.sends(binary(payload));
    expected.push_back(message_event(Opcode::binary, payload));
    frames.push_back(expected.back());
  }
  client.sends(close_frame(1000));
  play();
  expected.push_back("close 1000, clean");
  EXPECT_EQ(log.events, expected);
  frames.push_back("close 1000");
  EXPECT_EQ(client.frames(), frames);
}

TEST_F(ConnectionTest, AMessageBeyondTheLimitFailsTheConnection) {
  client.sends(text("12345678"));
  client.sends(text("123456789"));
  loop.any_thread_adopt(make_connection(client, log, 8), {});
  run(loop);
  log.expect_gone();
  EXPECT_EQ(log.events, (Events{"open", "text 12345678", "close 1009 message too big"}));
  EXPECT_EQ(client.frames(), (Events{"close 1009 message too big"}));
}

TEST_F(ConnectionTest, MayBeSentToFromAnotherConnectionsMessage) {
  Client other_client;
  Log other;
  behave(other_client);
  std::string large(20'000, 'l');
  other.then_on_message = [&](Connection&, Opcode type, Bytes payload) {
    EXPECT_EQ(log.connection->send(type, payload), SendResult::sent);
    EXPECT_EQ(log.connection->buffered_amount(), 0u);
    other.connection->send(type, bytes_of("done"));
    client.sends(close_frame(1000));
  };
  adopt(loop, other_client, other);
  adopt(loop, client, log);
  other_client.sends(text(large));
  other_client.sends(close_frame(1001));
  run(loop);
  log.expect_gone();
  other.expect_gone();
  EXPECT_EQ(client.frames(), (Events{message_event(Opcode::text, large), "close 1000"}));
  EXPECT_EQ(other_client.frames(), (Events{"text done", "close 1001"}));
}

TEST_F(ConnectionTest, WritesThatTakeFewBytesLoseNothing) {
  for (size_t most : {1, 2, 3, 7, 100, 5000}) {
    Client slow;
    Log echo;
    behave(slow);
    echo.echoes = true;
    slow.most_at_once = most;
    std::string large(10'000, 'l');
    slow.sends(text("small") + binary(large) + text("again"));
    slow.sends(ping("p"));
    slow.sends(close_frame(1000));
    adopt(loop, slow, echo);
    run(loop);
    echo.expect_gone();
    EXPECT_EQ(slow.frames(), (Events{"text small", message_event(Opcode::binary, large),
                                     "text again", "pong p", "close 1000"}))
        << most;
    EXPECT_GE(sum(slow.writes.back()), 1u);
  }
}

TEST_F(ConnectionTest, KnowsTheMessageThatIsBeingDelivered) {
  std::string copy = "hello";
  log.then_on_message = [&](Connection& c, Opcode type, Bytes payload) {
    EXPECT_TRUE(loop.is_current_message(type, payload));
    EXPECT_EQ(&c.loop(), &loop);
    EXPECT_FALSE(loop.is_current_message(Opcode::binary, payload));
    EXPECT_FALSE(loop.is_current_message(type, payload.first(4)));
    EXPECT_FALSE(loop.is_current_message(type, bytes_of(copy)));
  };
  log.then_on_close = [&](Connection&) {
    EXPECT_FALSE(loop.is_current_message(Opcode::text, bytes_of(copy)));
  };
  client.sends(text("hello"));
  client.sends(close_frame(1000));
  play();
}

TEST_F(ConnectionTest, KeepsItsAttachmentUntilAfterTheLastCall) {
  log.then_on_close = [&](Connection& c) {
    EXPECT_NE(c.attachment(), nullptr);
    EXPECT_EQ(log.destroyed, 0);
  };
  client.sends(close_frame(1000));
  play();
}

TEST_F(ConnectionTest, ThatIsNeverHandedOverGoesQuietly) {
  { auto connection = make_connection(client, log); }
  EXPECT_TRUE(client.destroyed);
  EXPECT_EQ(log.destroyed, 1);
  EXPECT_TRUE(log.events.empty());
}

}  // namespace
}  // namespace mws
