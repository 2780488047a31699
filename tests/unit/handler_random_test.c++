// A handler that does anything at any time, right and wrong, from its callbacks and from threads of
// its own, with clients that do the same: nothing crashes, and close comes once for each open.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "src/base/clock.h"
#include "tests/unit/hooks_support.h"

namespace mws {
namespace {

using namespace test;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  size_t below(size_t n) { return engine_() % n; }
  bool rarely() { return below(16) == 0; }

 private:
  std::minstd_rand engine_;
};

// What one round of a test shares with the threads of its handler.
struct Wild {
  explicit Wild(const ws_host& h) : host(h) {}
  const ws_host& host;
  std::mutex lock;
  std::vector<ws_handle> handles;  // under lock, as is all up to here
  std::vector<ws_connection*> connections;
  std::set<ws_connection*> open;
  std::atomic<int> posted = 0, called = 0, buffers = 0, released = 0, opened = 0, closed = 0;
  std::string bytes = std::string(70'000, 'w');

  static void call(ws_connection*, void* self) { static_cast<Wild*>(self)->called++; }
  static void release(void* self) { static_cast<Wild*>(self)->released++; }

  // Sizes, types, codes and flags of which some are wrong.
  size_t size(Random& random) {
    constexpr size_t sizes[] = {0, 1, 100, 125, 126, 3000, 70'000, SIZE_MAX};
    return sizes[random.below(random.rarely() ? 8 : 7)];
  }
  ws_type type(Random& random) { return ws_type(random.rarely() ? 5 : 1 + random.below(2)); }
  const void* data(Random& random) { return random.rarely() ? nullptr : bytes.data(); }

  void on_connection(Random& random, ws_connection* c) {
    size_t n = size(random);
    switch (random.below(16)) {
      case 0: host.close(c, uint16_t(995 + random.below(20)), "why", random.below(4)); break;
      case 1: host.send_fragment(c, type(random), data(random), n, random.below(2)); break;
      case 2: host.ping(c, data(random), n); break;
      case 3:
        host.pause(c);
        host.set_timer(c, 7, 1);
        break;
      case 4: host.resume(c); break;
      case 5: host.set_timer(c, uint32_t(random.below(9)), random.below(5)); break;
      case 6: host.cancel_timer(c, uint32_t(random.below(9))); break;
      case 7: host.buffered_amount(c); break;
      case 8: host.fact(c, ws_fact(random.below(120))); break;
      case 9: host.header(c, random.rarely() ? nullptr : "Host"); break;
      case 10: host.set_user_data(c, host.user_data(c)); break;
      case 11: with_buffer(random, [&](ws_buffer* buffer) { host.send_buffer(c, buffer); }); break;
      case 12:
        if (random.rarely()) host.abort(c);
        break;
      case 13:
        if (random.rarely()) throw std::bad_alloc();
        break;
      default: host.send(c, type(random), data(random), n, uint32_t(random.below(3)));
    }
  }
  void on_handle(Random& random, ws_handle handle) {
    switch (random.below(8)) {
      case 0:
        if (random.rarely()) host.handle_close(handle, 1000, "x", random.below(2));
        break;
      case 1: host.handle_buffered_amount(handle); break;
      case 2: host.handle_is_open(handle); break;
      case 3:
        if (host.handle_post(handle, call, this) == WS_OK) posted++;
        break;
      case 4: with_buffer(random, [&](ws_buffer* b) { host.handle_send_buffer(handle, b); }); break;
      default: host.handle_send(handle, type(random), data(random), size(random), 0);
    }
  }
  template <class Use>
  void with_buffer(Random& random, Use use) {
    ws_buffer* buffer =
        host.buffer(&host, type(random), data(random), size(random), 0, release, this);
    if (buffer) buffers++;
    use(buffer);
    host.buffer_release(buffer);
  }
  // On whatever thread: with connections that are another's or gone.
  void anywhere(Random& random) {
    ws_handle handle{random.below(1000)};
    ws_connection* connection = nullptr;
    {
      std::lock_guard hold(lock);
      if (!handles.empty()) handle = handles[random.below(handles.size())];
      if (!connections.empty()) connection = connections[random.below(connections.size())];
    }
    if (random.rarely()) {
      EXPECT_EQ(host.send(connection, WS_TEXT, "x", 1, 0), WS_WRONG_THREAD);
    }
    on_handle(random, handle);
  }
};

void script(Client& client, Random& random) {
  behave(client);
  for (size_t i = random.below(30); i; i--) {
    switch (random.below(8)) {
      case 0: client.sends(ping("ping")); break;
      case 1: client.sends(client_frame(0x8a, "pong")); break;
      case 2: client.sends(binary(std::string(random.below(20'000), 'b'))); break;
      case 3: client.sends(client_frame(0x01, "a") + client_frame(0x80, "b")); break;
      default: client.sends(text("hello") + text("world"));
    }
  }
  client.most_at_once = 1 + random.below(100'000);
  switch (random.below(6)) {
    case 0: client.ends(); break;
    case 1: client.breaks(); break;
    case 2: client.sends("\xff\xff\xff"); break;
    case 3: client.sends(close_frame(1000)); break;
    case 4: client.failing_write = int(1 + random.below(20)); break;
    default: client.room = random.below(100'000);
  }
}

void round_of(uint32_t seed, int workers) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Hooked hooked(workers, seed % 2);
  Wild wild(hooked.host);
  std::atomic<uint32_t> calls = 0;
  hooked.then = [&](const Event& event) {
    Random random(seed + ++calls);
    ws_connection* c = event.connection;
    if (event.callback == "open") {
      wild.opened++;
      ws_handle handle = wild.host.handle(c);
      std::lock_guard hold(wild.lock);
      EXPECT_TRUE(wild.open.insert(c).second);
      wild.handles.push_back(handle);
    } else {
      std::lock_guard hold(wild.lock);
      EXPECT_TRUE(wild.open.contains(c)) << event.callback;
      if (event.callback == "close") wild.open.erase(c);
    }
    if (event.callback == "close") wild.closed++;
    for (size_t i = random.below(6); i; i--) wild.on_connection(random, c);
    if (random.rarely()) wild.anywhere(random);
    if (event.callback != "close") return;
    std::lock_guard hold(wild.lock);
    wild.connections.push_back(c);
  };
  std::deque<Client> clients(8);
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 2; i++)
    threads.emplace_back([&, i] {
      Random random(seed + 1000 * i);
      while (!over) wild.anywhere(random), std::this_thread::yield();
    });
  {
    Loop loop(65536);
    Random random(seed);
    for (Client& each : clients) {
      script(each, random);
      loop.any_thread_adopt(hooked.connection(each), {});
    }
    run(loop, [&](int turn) {
      if (turn == 300) loop.any_thread_stop(kCloseGoingAway, 20);
    });
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  over = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wild.opened, 8);
  EXPECT_EQ(wild.closed, 8);
  EXPECT_EQ(wild.posted, wild.called);
  EXPECT_EQ(wild.buffers, wild.released);
}

TEST(HandlerRandomTest, WhateverHandlersAndClientsDoNothingBreaks) {
  uint32_t seed = std::random_device()();
  if (const char* given = getenv("HANDLER_RANDOM_SEED"))
    seed = uint32_t(strtoul(given, nullptr, 10));
  printf("HANDLER_RANDOM_SEED=%u\n", seed);
  uint64_t end_ms = monotonic_ms() + 3000;
  for (int workers : {0, 2}) round_of(seed, workers);
  while (monotonic_ms() < end_ms && !testing::Test::HasFailure()) {
    seed++;
    round_of(seed, int(seed % 3));
  }
}

}  // namespace
}  // namespace mws
