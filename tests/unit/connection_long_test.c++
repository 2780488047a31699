// Long messages: read into memory of their own, and sent back from there.
#include <gtest/gtest.h>

#include "src/engine/connection.h"
#include "tests/unit/engine_support.h"

namespace mws {
namespace {

using namespace test;

std::string long_message(int number) {
  std::string all;
  while (all.size() < 300'000)
    all += std::to_string(number) + "," + std::to_string(all.size()) + ";";
  return all;
}

// What comes back of the messages, sent in reads of that size, to a client that takes little at
// once.
Events echoed(int messages, size_t read_size, size_t takes,
              std::function<void(Connection&, Opcode, Bytes)> then = {}) {
  Client client;
  client.most_at_once = takes;
  Log log;
  log.echoes = true;
  log.then_on_message = std::move(then);
  std::string wire;
  for (int i = 0; i < messages; i++) wire += text(long_message(i));
  for (size_t at = 0; at < wire.size(); at += read_size) client.sends(wire.substr(at, read_size));
  client.sends(close_frame(1000));
  Loop loop(16 * 1024);
  loop.any_thread_adopt(
      std::make_unique<Connection>(client.transport(), log, SessionSettings{}, nullptr), {});
  run(loop);
  EXPECT_TRUE(client.destroyed);
  return client.frames();
}

Events wanted(int messages) {
  Events all;
  for (int i = 0; i < messages; i++) all.push_back(joined("text", long_message(i)));
  all.push_back("close 1000");
  return all;
}

TEST(LongMessages, ComeBackWholeHoweverTheyAreCut) {
  for (size_t read_size : {1000u, 16'384u, 100'000u})
    for (size_t takes : {size_t(7000), kUnlimited})
      EXPECT_EQ(echoed(5, read_size, takes), wanted(5)) << read_size << " " << takes;
}

TEST(LongMessages, StayAsTheyAreForWhoReadsThemAfterSendingThem) {
  int seen = 0;
  auto look = [&](Connection&, Opcode, Bytes payload) {
    EXPECT_EQ(text_of(payload), long_message(seen));
    seen++;
  };
  EXPECT_EQ(echoed(4, 50'000, 7000, look), wanted(4));
  EXPECT_EQ(seen, 4);
}

TEST(LongMessages, MayBeSentSeveralTimes) {
  auto again = [](Connection& connection, Opcode type, Bytes payload) {
    connection.send(type, payload.subspan(100'000));
    connection.send(type, payload.first(200'000));
  };
  Events all;
  for (int i = 0; i < 3; i++) {
    all.push_back(joined("text", long_message(i)));
    all.push_back(joined("text", long_message(i).substr(100'000)));
    all.push_back(joined("text", long_message(i).substr(0, 200'000)));
  }
  all.push_back("close 1000");
  EXPECT_EQ(echoed(3, 50'000, 7000, again), all);
}

}  // namespace
}  // namespace mws
