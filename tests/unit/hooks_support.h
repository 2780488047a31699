// A handler whose callbacks are the test's, on the loop or on workers.
#pragma once
#include <atomic>
#include <functional>
#include <mutex>

#include "tests/unit/handler_support.h"
#include "tests/unit/handlers/hooks.h"

namespace mws::test {

struct Event {
  std::string callback, data;
  ws_connection* connection;
  uint32_t number;
};

class Hooked : private Hooks {
 public:
  explicit Hooked(int workers, bool streams = false)
      : Hooks{nullptr, tell, ask},
        handler(configured("hooks", log, {{"hooks", std::to_string(uintptr_t(hooks()))}},
                           streams ? "streams" : kDefaultSymbol, "/here", workers)),
        host(*Hooks::host) {}

  std::function<void(const Event&)> then;
  std::function<int(ws_request*)> then_on_handshake = [](ws_request*) { return 0; };
  Lines log;
  std::unique_ptr<Handler> handler;
  const ws_host& host;

  // "open", "message hello", "close", in the order of their coming, of all connections.
  Events told() {
    std::lock_guard hold(lock_);
    return told_;
  }
  std::unique_ptr<Connection> connection(Client& client, const Request& request = {}) {
    return std::make_unique<Connection>(client.transport(), *handler,
                                        SessionSettings{.streams = handler->streams()},
                                        handler->attach(request));
  }
  // One connection from its opening until close was told.
  void talk(Client& client, std::function<void(int)> between = {}, const Request& request = {}) {
    {
      Loop loop(4096);
      loop.any_thread_adopt(connection(client, request), {});
      run(loop, std::move(between));
    }
    EXPECT_TRUE(handler->finish(600'000));
  }

 private:
  Hooks* hooks() { return this; }
  static void tell(Hooks* self, const char* callback, ws_connection* connection, const void* data,
                   size_t size, uint32_t number) {
    auto& hooked = *static_cast<Hooked*>(self);
    Event event{callback, std::string(static_cast<const char*>(data), size), connection, number};
    {
      std::lock_guard hold(hooked.lock_);
      hooked.told_.push_back(joined(event.callback, event.data));
    }
    if (hooked.then) hooked.then(event);
  }
  static int ask(Hooks* self, ws_request* request) {
    return static_cast<Hooked*>(self)->then_on_handshake(request);
  }

  std::mutex lock_;
  Events told_;
};

}  // namespace mws::test
