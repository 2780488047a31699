// What the tests of the engine share: a scripted client behind a transport double, an endpoint that
// writes down what it is told, and a way to run a loop that cannot hang. All on one thread.
#pragma once
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/engine/loop.h"
#include "src/protocol/close_code.h"
#include "tests/unit/protocol_support.h"

namespace mws::test {

constexpr size_t kUnlimited = size_t(-1);

// Takes the whole frames that a server sent off the wire, one line each: "text hello", "pong",
// "close 1000 bye"; "compressed text hello" for one that refers to none before it.
inline Events take_frames(std::string_view& wire) {
  Events frames;
  while (wire.size() >= 2) {
    size_t head = 2, size = uint8_t(wire[1]);
    EXPECT_LT(size, 128u) << "masked";
    if (size >= 126) {
      size_t extended = size == 126 ? 2 : 8;
      if (wire.size() < 2 + extended) break;
      size = 0;
      while (head < 2 + extended) size = size << 8 | uint8_t(wire[head++]);
    }
    if (wire.size() < head + size) break;
    std::string_view payload = wire.substr(head, size);
    switch (uint8_t(wire[0])) {
      case 0x81: frames.push_back(joined("text", payload)); break;
      case 0x82: frames.push_back(joined("binary", payload)); break;
      case 0xc1: {
        PlainInflater client;
        frames.push_back(joined("compressed text", inflated(client, payload)));
        break;
      }
      case 0x01: frames.push_back(joined("first text", payload)); break;
      case 0x02: frames.push_back(joined("first binary", payload)); break;
      case 0x00: frames.push_back(joined("piece", payload)); break;
      case 0x80: frames.push_back(joined("last", payload)); break;
      case 0x89: frames.push_back(joined("ping", payload)); break;
      case 0x8a: frames.push_back(joined("pong", payload)); break;
      case 0x88: {
        unsigned code = size < 2 ? 1005 : uint8_t(payload[0]) << 8 | uint8_t(payload[1]);
        frames.push_back(joined("close " + std::to_string(code), payload.substr(size < 2 ? 0 : 2)));
        break;
      }
      default: ADD_FAILURE() << "first byte " << int(uint8_t(wire[0])); return frames;
    }
    wire.remove_prefix(head + size);
  }
  return frames;
}

inline Events frames_of(std::string_view wire) {
  Events frames = take_frames(wire);
  if (!wire.empty()) frames.push_back("incomplete");
  return frames;
}

// The far side of a connection, and what its transport will do. It outlives the transport.
class Client {
 public:
  Client() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Client() { close(descriptor_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Each call is what one read gives, or the first of several if it is more than a read takes.
  void sends(std::string bytes) { add({IoResult::done, std::move(bytes)}); }
  void ends() { add({IoResult::end, {}}), announce(); }
  void breaks() { add({IoResult::failed, {}}), announce(); }
  // What the next write takes goes out of room; a write without room says again.
  size_t room = kUnlimited;
  size_t most_at_once = kUnlimited;  // bytes that one write takes
  bool hides = false;                // the transport holds what was sent: the descriptor is silent
  bool reads_on = false;             // and reads say so
  bool awaits_end = true;            // what finish_writing() says
  int failing_read = 0, failing_write = 0;  // counted from 1

  std::string received;
  std::vector<std::vector<size_t>> writes;  // sizes of the pieces of each write, as offered
  int reads = 0;
  size_t unread() const { return incoming_.size(); }
  bool told_finished = false;  // finish_writing() was called
  bool destroyed = false;      // the transport
  std::function<void()> on_received, on_finished;
  Events frames() const { return frames_of(received); }
  bool has(const std::string& frame) const {
    Events all = frames();
    return std::find(all.begin(), all.end(), frame) != all.end();
  }

  std::unique_ptr<Transport> transport();

 private:
  friend class ScriptedTransport;
  struct Incoming {
    IoResult::Kind kind;
    std::string bytes;
  };
  void add(Incoming piece) {
    incoming_.push_back(std::move(piece));
    if (!hides) announce();
  }
  void announce() {
    uint64_t one = 1;
    EXPECT_EQ(write(descriptor_, &one, sizeof one), ssize_t(sizeof one));
  }
  void silence() {
    uint64_t count;
    (void)!read(descriptor_, &count, sizeof count);
  }

  int descriptor_;
  std::deque<Incoming> incoming_;
};

class ScriptedTransport final : public Transport {
 public:
  explicit ScriptedTransport(Client& client) : client_(client) {}
  ~ScriptedTransport() override {
    EXPECT_FALSE(client_.destroyed);
    client_.destroyed = true;
  }

  int descriptor() const override { return client_.descriptor_; }
  bool may_hold_bytes() const override { return client_.hides; }

  IoResult read(MutableBytes into) override {
    EXPECT_FALSE(into.empty());
    client_.reads++;
    if (client_.reads == client_.failing_read) return {IoResult::failed};
    if (client_.incoming_.empty()) {
      client_.silence();
      return {IoResult::again};
    }
    auto& front = client_.incoming_.front();
    if (front.kind != IoResult::done) return {front.kind};  // it stays so
    size_t size = std::min(front.bytes.size(), into.size());
    std::copy_n(front.bytes.begin(), size, into.begin());
    front.bytes.erase(0, size);
    if (front.bytes.empty()) client_.incoming_.pop_front();
    if (client_.incoming_.empty()) client_.silence();
    return {IoResult::done, size, client_.reads_on};
  }

  IoResult write(std::span<const iovec> pieces) override {
    EXPECT_FALSE(pieces.empty());
    client_.writes.emplace_back();
    for (const iovec& piece : pieces) client_.writes.back().push_back(piece.iov_len);
    if (int(client_.writes.size()) == client_.failing_write) return {IoResult::failed};
    size_t left = std::min(client_.room, client_.most_at_once), taken = 0;
    for (const iovec& piece : pieces) {
      size_t size = std::min(piece.iov_len, left - taken);
      client_.received.append(static_cast<const char*>(piece.iov_base), size);
      taken += size;
    }
    if (client_.room != kUnlimited) client_.room -= taken;
    if (!taken) return {IoResult::again};
    if (client_.on_received) client_.on_received();
    return {IoResult::done, taken};
  }

  bool finish_writing() override {
    EXPECT_FALSE(client_.told_finished);
    client_.told_finished = true;
    if (client_.on_finished) client_.on_finished();
    return client_.awaits_end;
  }

 private:
  Client& client_;
};

inline std::unique_ptr<Transport> Client::transport() {
  return std::make_unique<ScriptedTransport>(*this);
}

// The endpoint of one connection. Events: "open", "text hello", "close 1000 bye, clean".
class Log final : public Endpoint {
 public:
  Events events;
  bool echoes = false;
  Connection* connection = nullptr;  // while it is open
  int opened = 0, closed = 0, destroyed = 0;
  std::function<void(Connection&)> then_on_open, then_on_close;
  std::function<void(Connection&, Opcode, Bytes)> then_on_message;
  std::function<void(Connection&)> then_on_drained;             // writes down nothing itself
  std::function<void(Connection&, uint32_t id)> then_on_timer;  // nor does this
  std::function<void(uint64_t ms)> then_on_slow;
  std::vector<SendResult> results;  // of the echoes

  void on_open(Connection& c) noexcept override {
    EXPECT_EQ(opened++, 0);
    connection = &c;
    events.push_back("open");
    if (then_on_open) then_on_open(c);
  }
  void on_message(Connection& c, Opcode type, Bytes payload) noexcept override {
    EXPECT_EQ(connection, &c);
    events.push_back(message_event(type, text_of(payload)));
    if (echoes) results.push_back(c.send(type, payload));
    if (then_on_message) then_on_message(c, type, payload);
  }
  void on_drained(Connection& c) noexcept override {
    EXPECT_EQ(connection, &c);
    if (then_on_drained) then_on_drained(c);
  }
  void on_timer(Connection& c, uint32_t id) noexcept override {
    EXPECT_EQ(connection, &c);
    if (then_on_timer) then_on_timer(c, id);
  }
  void on_slow(uint64_t ms, bool) noexcept override {
    if (then_on_slow) then_on_slow(ms);
  }
  void on_close(Connection& c, uint16_t code, std::string_view reason,
                bool clean) noexcept override {
    EXPECT_EQ(connection, &c);
    EXPECT_EQ(closed++, 0);
    events.push_back(joined("close " + std::to_string(code), reason) + (clean ? ", clean" : ""));
    if (then_on_close) then_on_close(c);
    connection = nullptr;
  }

  struct Mark final : Attachment {
    explicit Mark(Log& l) : log(l) {}
    ~Mark() override { log.destroyed++; }
    Log& log;
  };
  // Told of everything exactly once.
  void expect_gone() const {
    EXPECT_EQ(opened, 1);
    EXPECT_EQ(closed, 1);
    EXPECT_EQ(destroyed, 1);
  }
};

inline std::unique_ptr<Connection> make_connection(Client& client, Log& log,
                                                   uint64_t max_message_bytes = 1 << 20,
                                                   const DeflateParameters& deflate = {}) {
  SessionSettings settings{.max_message_bytes = max_message_bytes, .deflate = deflate};
  return std::make_unique<Connection>(client.transport(), log, settings, make_ref<Log::Mark>(log));
}

inline void adopt(Loop& loop, Client& client, Log& log, std::string_view early = "") {
  loop.any_thread_adopt(make_connection(client, log), {early.begin(), early.end()});
}

// Runs the loop until its last connection is gone, and calls between after each turn with their
// number. When it takes too many turns it fails, and ends by itself.
inline void run(Loop& loop, std::function<void(int)> between = {}) {
  struct Ticker {
    Loop& loop;
    std::function<void(int)> between;
    int turns = 0;
    static void tick(std::shared_ptr<Ticker> self) {
      Ticker& ticker = *self;
      if (ticker.turns++ == 2'000'000) {
        ADD_FAILURE() << "the connection does not end";
        ticker.loop.any_thread_stop(kCloseGoingAway, 0);
      }
      if (ticker.between) ticker.between(ticker.turns);
      ticker.loop.any_thread_post([weak = std::weak_ptr(self)] {
        if (auto again = weak.lock()) tick(std::move(again));
      });
    }
  };
  auto ticker = std::make_shared<Ticker>(Ticker{loop, std::move(between)});
  loop.any_thread_post([weak = std::weak_ptr(ticker)] {
    if (auto first = weak.lock()) Ticker::tick(std::move(first));
  });
  loop.run_while_connected();
}

// A client that answers the server's close frame, and its end of stream with its own.
inline void behave(Client& client) {
  client.on_received = [&client, looked_at = size_t(0)]() mutable {
    std::string_view wire = std::string_view(client.received).substr(looked_at);
    Events frames = take_frames(wire);
    looked_at = client.received.size() - wire.size();
    if (frames.empty() || !frames.back().starts_with("close ")) return;
    unsigned code = unsigned(std::stoul(frames.back().substr(6)));
    client.sends(code == kCloseNoCode ? close_with("") : close_frame(code));
  };
  client.on_finished = [&client] { client.ends(); };
}

}  // namespace mws::test
