// Long messages that are read into the session's own memory.
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

class Gatherer final : public Session::Host {
 public:
  void on_message(Opcode type, MutableBytes payload) override {
    messages.push_back((type == Opcode::text ? "text " : "binary ") +
                       std::string(text_of(payload)));
  }
  void on_gathered(Opcode type, Buffer& message) override {
    on_message(type, message.bytes());
    spare.give_back(std::move(message));
  }
  Buffer spare_buffer() override {
    Buffer taken = spare.take();
    reused += taken.capacity() != 0;
    return taken;
  }
  void on_ping(Bytes payload) override {
    messages.push_back("ping " + std::string(text_of(payload)));
  }
  void transmit(Bytes, Bytes) override {}
  void on_end(uint16_t, std::string_view, bool, Rule rule) override { broken = rule; }
  DeflateShare& deflate_share() override { return share; }

  std::vector<std::string> messages;
  Rule broken = Rule::none;
  SpareBuffers spare;
  int reused = 0;

 private:
  DeflateShare share;
};

// Reads as a connection does, at most so many bytes at once; how often it could read into room.
int read_all(Session& session, Gatherer& host, std::string wire, size_t at_most) {
  int in_room = 0;
  for (size_t at = 0; at < wire.size();) {
    MutableBytes room = session.room(host);
    size_t size = std::min({at_most, wire.size() - at, room.empty() ? SIZE_MAX : room.size()});
    auto* bytes = reinterpret_cast<uint8_t*>(wire.data()) + at;
    if (room.empty()) {
      EXPECT_TRUE(session.receive({bytes, size}, host).empty());
    } else {
      memcpy(room.data(), bytes, size);
      EXPECT_TRUE(session.receive(room.first(size), host).empty());
      in_room++;
    }
    at += size;
  }
  return in_room;
}

std::string long_text(size_t characters) {
  std::string all;
  for (size_t i = 0; i < characters; i++) all += i % 3 ? "€" : "a";
  return all;
}

TEST(SessionRoom, MakesNoDifference) {
  std::string said = long_text(150'000), data(300'001, '\x80');
  std::string wire = ping("a") + text(said) + text("short") +
                     binary(data.substr(0, 100'000), more) + ping("b") +
                     continuation(data.substr(100'000)) + binary("end");
  for (size_t at_most : {997u, 4096u, 65'536u, 200'003u}) {
    Session session(1 << 20);
    Gatherer host;
    EXPECT_GT(read_all(session, host, wire, at_most), 1) << at_most;
    EXPECT_EQ(host.messages, (std::vector<std::string>{"ping a", "text " + said, "text short",
                                                       "ping b", "binary " + data, "binary end"}))
        << at_most;
    EXPECT_EQ(host.broken, Rule::none);
    EXPECT_FALSE(session.in_message());
  }
}

TEST(SessionRoom, RefusesWhatIsNoUtf8) {
  std::string said = long_text(100'000);
  for (size_t wrong_at : {size_t(50'000), said.size() - 1}) {
    std::string broken = said;
    broken[wrong_at] = '\xff';
    Session session(1 << 20);
    Gatherer host;
    read_all(session, host, text(broken), 10'000);
    EXPECT_EQ(host.broken, Rule::text_not_utf8);
    EXPECT_TRUE(host.messages.empty());
  }
}

TEST(SessionRoom, IsOnlyForLongMessagesThatAreGathered) {
  Gatherer host;
  std::string part = binary(std::string(200'000, 'x')).substr(0, 1000);
  auto room_after = [&](Session& session, std::string wire) {
    session.receive({reinterpret_cast<uint8_t*>(wire.data()), wire.size()}, host);
    return session.room(host).size();
  };
  Session fresh(1 << 20), whole(1 << 20), nearly(1 << 20), closed(1 << 20);
  Session streams(SessionSettings{.streams = true});
  EXPECT_EQ(room_after(fresh, ""), 0u);
  EXPECT_EQ(room_after(whole, binary("x")), 0u);
  EXPECT_EQ(room_after(nearly, binary(std::string(5000, 'x')).substr(0, 1000)), 0u);
  EXPECT_EQ(room_after(streams, part), 0u);
  EXPECT_EQ(room_after(closed, close_frame(1000)), 0u);
  Session session(1 << 20);
  size_t room = room_after(session, part);
  EXPECT_GT(room, 0u);
  EXPECT_LT(room, 150'000u);  // memory grows with what has arrived
}

TEST(SessionRoom, IsMemoryOfEarlierMessages) {
  Session session(1 << 20);
  Gatherer host;
  for (int i = 0; i < 4; i++) read_all(session, host, binary(std::string(500'000, 'x')), 100'000);
  EXPECT_EQ(host.messages.size(), 4u);
  EXPECT_EQ(host.reused, 3);
}

TEST(SpareBuffers, KeepsAFewLongOnes) {
  SpareBuffers spare;
  auto give = [&](size_t size) {
    Buffer buffer;
    buffer.grow(size, size);
    spare.give_back(std::move(buffer));
  };
  give(SpareBuffers::kLong - 1);
  EXPECT_EQ(spare.take().capacity(), 0u);
  give(SpareBuffers::kMost / 2);
  give(SpareBuffers::kMost);  // too much beside the other
  Buffer taken = spare.take();
  EXPECT_EQ(taken.capacity(), SpareBuffers::kMost / 2);
  EXPECT_EQ(taken.size(), 0u);
  EXPECT_EQ(spare.take().capacity(), 0u);
}

}  // namespace
}  // namespace mws::test
