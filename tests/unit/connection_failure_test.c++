// Each read and each write of a conversation fails once: whatever fails, the handler is told
// exactly once, and nothing is left.
#include <gtest/gtest.h>

#include "src/engine/connection.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

struct Count {
  int reads, writes;
};

struct Conversation {
  const char* name;
  std::function<void(Client&, Log&)> set;
};

const std::string kLarge(10'000, 'l');

const Conversation kConversations[] = {
    {"the client closes",
     [](Client& client, Log&) {
       client.sends(text("one") + binary(kLarge) + text("two"));
       client.sends(ping("are you there"));
       client.sends(text("three"));
       client.sends(close_frame(1000));
     }},
    {"the server closes",
     [](Client& client, Log& log) {
       client.sends(text("one"));
       client.sends(text("quit"));
       log.then_on_message = [](Connection& c, Opcode, Bytes payload) {
         if (text_of(payload) == "quit") c.close(4000, "bye");
       };
     }},
    {"the client breaks a rule",
     [](Client& client, Log&) { client.sends(text("one") + from_hex("c180 00000000")); }},
    {"the client ends its stream",
     [](Client& client, Log&) {
       client.sends(text("one") + text(kLarge));
       client.ends();
     }},
    {"writes take few bytes",
     [](Client& client, Log& log) {
       client.most_at_once = 1500;
       log.then_on_open = [](Connection& c) { c.send(Opcode::text, bytes_of(kLarge)); };
       client.sends(text("one") + text(kLarge));
       client.sends(close_frame(1000));
     }},
    {"the transport holds bytes",
     [](Client& client, Log&) {
       client.hides = client.reads_on = true;
       client.sends(text("one") + text(kLarge));
       client.sends(ping("p"));
       client.sends(close_frame(1000));
     }},
    {"the server closes on opening",
     [](Client&, Log& log) {
       log.then_on_open = [](Connection& c) {
         c.send(Opcode::text, bytes_of("hello"));
         c.close(1000, "");
       };
     }},
};

// Plays it once on a loop of its own; 0 fails nothing.
Count play(const Conversation& conversation, int failing_read, int failing_write) {
  Client client;
  Log log;
  log.echoes = true;
  behave(client);
  client.failing_read = failing_read;
  client.failing_write = failing_write;
  conversation.set(client, log);
  {
    Loop loop(4096);
    adopt(loop, client, log, text("early"));
    run(loop);
  }
  log.expect_gone();
  EXPECT_TRUE(client.destroyed);
  EXPECT_EQ(log.events.front(), "open");
  EXPECT_TRUE(log.events.back().starts_with("close "));
  return {client.reads, int(client.writes.size())};
}

TEST(ConnectionFailure, OfAnyReadIsToldOnceAndLeavesNothing) {
  for (const Conversation& each : kConversations) {
    SCOPED_TRACE(each.name);
    Count all = play(each, 0, 0);
    EXPECT_GT(all.reads, 0);
    for (int n = 1; n <= all.reads && !testing::Test::HasFailure(); n++) {
      SCOPED_TRACE(n);
      EXPECT_EQ(play(each, n, 0).reads, n);  // nothing is read afterwards
    }
  }
}

TEST(ConnectionFailure, OfAnyWriteIsToldOnceAndLeavesNothing) {
  for (const Conversation& each : kConversations) {
    SCOPED_TRACE(each.name);
    Count all = play(each, 0, 0);
    EXPECT_GT(all.writes, 0);
    for (int n = 1; n <= all.writes && !testing::Test::HasFailure(); n++) {
      SCOPED_TRACE(n);
      EXPECT_EQ(play(each, 0, n).writes, n);  // nothing is written afterwards
    }
  }
}

TEST(ConnectionFailure, OfADescriptorThatCannotBeWatchedEndsTheConnection) {
  struct Unwatchable final : Transport {
    int descriptor() const override { return -1; }
    IoResult read(MutableBytes) override { return {IoResult::again}; }
    IoResult write(std::span<const iovec> pieces) override {
      return {IoResult::done, pieces[0].iov_len};
    }
    bool finish_writing() override { return false; }
  };
  Log log;
  Loop loop(4096);
  loop.any_thread_adopt(std::make_unique<Connection>(std::make_unique<Unwatchable>(), log,
                                                     SessionSettings{}, make_ref<Log::Mark>(log)),
                        {});
  run(loop);
  loop.any_thread_stop(kCloseGoingAway, 0);
  EXPECT_EQ(log.events, (Events{"open", "close 1006"}));
}

}  // namespace
}  // namespace mws
