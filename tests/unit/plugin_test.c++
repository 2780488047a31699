// Plugins of apache-websocket, whose callbacks are the tests' own.
#include "src/handler/plugin.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "src/handler/companion.h"
#include "tests/unit/handler_support.h"

namespace mws {
namespace {

using namespace test;

struct PluginTest : testing::Test {
  Lines log;
  int request_rec = 0;  // stands for httpd's
  void* object_ = dlopen(object("plugins").c_str(), RTLD_NOW);
  Plugin& plugin = *static_cast<Plugin*>(dlsym(object_, "plugin"));

  std::mutex lock;
  Events events;  // under lock
  std::function<void*(const PluginServer*)> then_on_connect;
  std::function<void(const PluginServer*, std::string_view)> then_on_message;
  std::function<void(const PluginServer*)> then_on_disconnect;
  static inline PluginTest* now;

  PluginTest() {
    now = this;
    plugin = {sizeof(Plugin), 0, destroy, on_connect, on_message, on_disconnect};
  }
  ~PluginTest() override { dlclose(object_); }

  void note(const std::string& event) {
    std::lock_guard hold(lock);
    events.push_back(event);
  }
  static void destroy(Plugin* of) {
    EXPECT_EQ(of, &now->plugin);
    now->note("destroy");
  }
  static void* on_connect(const PluginServer* server) {
    now->note("connect");
    return now->then_on_connect ? now->then_on_connect(server) : now;
  }
  static size_t on_message(void* own, const PluginServer* server, int type, unsigned char* data,
                           size_t size) {
    EXPECT_TRUE(own == now || !now->plugin.on_connect);
    EXPECT_TRUE(data);
    std::string_view text(reinterpret_cast<char*>(data), size);
    now->note("message " + std::to_string(type) + " " + std::string(text));
    if (now->then_on_message) now->then_on_message(server, text);
    else EXPECT_EQ(server->send(server, type, data, size), size);
    return size;
  }
  static void on_disconnect(void*, const PluginServer* server) {
    now->note("disconnect");
    if (now->then_on_disconnect) now->then_on_disconnect(server);
  }

  std::unique_ptr<Handler> configured(bool may_detach = false) {
    auto library = Library::load(object("plugins"), "plugin_init", log);
    if (!library) return ADD_FAILURE() << library.reason(), nullptr;
    auto handler = Handler::configure(*library, {.may_detach = may_detach});
    if (!handler) return ADD_FAILURE() << handler.reason(), nullptr;
    return std::move(*handler);
  }
  std::string reason() {
    auto library = Library::load(object("plugins"), "plugin_init", log);
    EXPECT_FALSE(library);
    return library ? "" : library.reason().substr(object("plugins").size() + 2);
  }
  // An opening handshake, and what the client says after it.
  Events opened(Handler& handler, const std::vector<std::string>& sent) {
    Request request;
    request.native = &request_rec;
    EXPECT_EQ(handler.handshake(request), 0);
    Events frames = talk(handler, sent, request);
    EXPECT_TRUE(handler.finish(30'000));
    return frames;
  }
};

size_t send(const PluginServer* server, std::string_view text) {
  return server->send(server, kPluginText, bytes_of(text).data(), text.size());
}

// ---- Loading ------------------------------------------------------------------------------------

TEST_F(PluginTest, IsAHandlerThatNeedsAThreadAndIsDestroyedBeforeItIsUnloaded) {
  auto handler = configured();
  ASSERT_TRUE(handler);
  EXPECT_EQ(handler->plugin(), &plugin);
  EXPECT_TRUE(handler->needs_thread());
  EXPECT_FALSE(handler->streams());
  EXPECT_EQ(events, Events{});
  handler.reset();
  EXPECT_EQ(events, Events{"destroy"});
}

TEST_F(PluginTest, OfAnotherSizeOrWithoutOnMessageIsRefused) {
  for (size_t size : {size_t(0), sizeof(Plugin) - 1, sizeof(ws_handler)}) {
    plugin.size = unsigned(size);
    EXPECT_EQ(reason(),
              "has a table of version 0, as plugins of apache-websocket do, but not of "
              "40 bytes as theirs; a handler's says WS_ABI_VERSION");
  }
  plugin.size = sizeof(Plugin);
  plugin.on_message = nullptr;
  EXPECT_EQ(reason(), "is a plugin of apache-websocket without on_message");
  EXPECT_EQ(events, Events{});
}

TEST_F(PluginTest, NeedsWorkersWhereItMayBeDetached) {
  auto library = Library::load(object("plugins"), "plugin_init", log);
  ASSERT_TRUE(library);
  EXPECT_TRUE(Handler::configure(*library, {.workers = 0}));
  auto refused = Handler::configure(*library, {.workers = 0, .may_detach = true});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.reason().find("WebSocketWorkers must be 1 or more"), std::string::npos);
}

// ---- A connection -------------------------------------------------------------------------------

TEST_F(PluginTest, IsCalledInOrderOnTheLoopWhereItHasAThread) {
  auto handler = configured();
  then_on_message = [&, here = std::this_thread::get_id()](const PluginServer* server,
                                                           std::string_view text) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_EQ(server->request(server), &request_rec);
    send(server, text);
  };
  EXPECT_EQ(opened(*handler, {text("one"), binary(""), close_frame(1000)}),
            (Events{"text one", "text", "close 1000"}));
  EXPECT_EQ(events, (Events{"connect", "message 0 one", "message 128 ", "disconnect"}));
}

TEST_F(PluginTest, IsCalledInOrderByWorkersWhereItMayBeDetached) {
  auto handler = configured(true);
  EXPECT_FALSE(handler->needs_thread());
  then_on_connect = [&](const PluginServer* server) {
    EXPECT_EQ(server->request(server), &request_rec);
    return this;
  };
  then_on_message = [&, here = std::this_thread::get_id()](const PluginServer* server,
                                                           std::string_view text) {
    EXPECT_NE(std::this_thread::get_id(), here);
    EXPECT_EQ(server->request(server), nullptr);
    if (text == "two") server->close(server);
    else send(server, text);
  };
  EXPECT_EQ(opened(*handler, {text("one"), text("two")}), (Events{"text one", "close 1000"}));
  EXPECT_EQ(events, (Events{"connect", "message 0 one", "message 0 two", "disconnect"}));
}

TEST_F(PluginTest, WithoutOnConnectAcceptsAllAndOnDisconnectMayBeMissing) {
  plugin.on_connect = nullptr;
  plugin.on_disconnect = nullptr;
  plugin.destroy = nullptr;
  EXPECT_EQ(opened(*configured(), {text("one"), close_frame(1000)}),
            (Events{"text one", "close 1000"}));
  EXPECT_EQ(events, Events{"message 0 one"});
}

TEST_F(PluginTest, ThatReturnsNullRefusesWith403AndWithoutItsHeaders) {
  auto handler = configured();
  then_on_connect = [](const PluginServer* server) {
    server->header_set(server, "X-Name", "value");
    return nullptr;
  };
  Request request;
  EXPECT_EQ(handler->handshake(request), 403);
  EXPECT_TRUE(request.response_headers.empty());
  EXPECT_EQ(events, Events{"connect"});
}

TEST_F(PluginTest, IsToldOnceOfAConnectionThatNeverOpens) {
  auto handler = configured();
  {
    Request request;
    ASSERT_EQ(handler->handshake(request), 0);
    auto attachment = handler->attach(request);
    EXPECT_EQ(events, Events{"connect"});
  }
  EXPECT_EQ(events, (Events{"connect", "disconnect"}));
}

// ---- Sending ------------------------------------------------------------------------------------

TEST_F(PluginTest, SendsWhatThreadsSentBeforeBeforeItsOwn) {
  auto handler = configured();
  then_on_message = [](const PluginServer* server, std::string_view) {
    for (int i = 0; i < 10; i++) {
      std::thread([=] { EXPECT_EQ(send(server, "thread's"), 8u); }).join();
      EXPECT_EQ(send(server, "own"), 3u);
    }
  };
  Events frames = opened(*handler, {text("go"), close_frame(1000)});
  ASSERT_EQ(frames.size(), 21u);
  for (size_t i = 0; i < 20; i++) EXPECT_EQ(frames[i], i % 2 ? "text own" : "text thread's");
}

TEST_F(PluginTest, KeepsWhatIsSentBeforeTheConnectionIsOpen) {
  for (bool may_detach : {false, true}) {
    auto handler = configured(may_detach);
    then_on_connect = [&](const PluginServer* server) {
      send(server, "first");
      std::thread([=] { send(server, "second"); }).join();
      return this;
    };
    then_on_message = [](const PluginServer* server, std::string_view text) {
      send(server, text);
      server->close(server);
    };
    EXPECT_EQ(opened(*handler, {text("third")}),
              (Events{"text first", "text second", "text third", "close 1000"}));
  }
}

TEST_F(PluginTest, MaySendOnlySoMuchBeforeTheConnectionIsOpen) {
  auto handler = configured();
  const std::string large(600 * 1024, 'x');
  std::vector<size_t> own, thread;
  std::thread sender;
  then_on_connect = [&](const PluginServer* server) {
    for (int i = 0; i < 3; i++) own.push_back(send(server, large));
    sender = std::thread([&, server] { thread.push_back(send(server, large)); });  // waits
    return this;
  };
  then_on_disconnect = [&](const PluginServer*) { sender.join(); };
  {
    Request request;
    EXPECT_EQ(handler->handshake(request), 0);
  }
  EXPECT_EQ(own, (std::vector<size_t>{large.size(), large.size(), 0}));
  EXPECT_EQ(thread, std::vector<size_t>{0});
}

TEST_F(PluginTest, MaySendOnlySoManyShortOnesBeforeTheConnectionIsOpen) {
  auto handler = configured();
  size_t sent = 0;
  then_on_connect = [&](const PluginServer* server) {
    while (sent < 100'000 && send(server, "x")) sent++;
    return this;
  };
  Request request;
  EXPECT_EQ(handler->handshake(request), 0);
  EXPECT_GT(sent, 100u);
  EXPECT_LT(sent, 20'000u);
}

TEST_F(PluginTest, AThreadThatSendsDoesNotWaitForACallbackThatMayWaitForTheThread) {
  auto handler = configured();
  const std::string large(600 * 1024, 'x');
  std::timed_mutex of_plugin;
  std::promise<void> holds, entered;
  std::thread sender;
  then_on_connect = [&](const PluginServer* server) {
    sender = std::thread([&, server] {
      std::lock_guard hold(of_plugin);
      holds.set_value();
      entered.get_future().wait();
      for (int i = 0; i < 3; i++) EXPECT_EQ(send(server, large), large.size());
    });
    holds.get_future().wait();
    return this;
  };
  then_on_message = [&](const PluginServer* server, std::string_view) {
    entered.set_value();
    bool got = of_plugin.try_lock_for(std::chrono::minutes(1));
    EXPECT_TRUE(got) << "they wait for each other";
    if (got) of_plugin.unlock();
    server->close(server);
  };
  then_on_disconnect = [&](const PluginServer*) { sender.join(); };
  EXPECT_EQ(opened(*handler, {text("go")}).size(), 3u + 1u);
}

TEST_F(PluginTest, SendsNothingAfterItsCloseNorInOnDisconnect) {
  for (bool may_detach : {false, true}) {
    auto handler = configured(may_detach);
    then_on_message = [](const PluginServer* server, std::string_view) {
      server->close(server);
      server->close(server);
      EXPECT_EQ(send(server, "late"), 0u);
      std::thread([=] { EXPECT_EQ(send(server, "late"), 0u); }).join();
    };
    then_on_disconnect = [](const PluginServer* server) { EXPECT_EQ(send(server, "late"), 0u); };
    EXPECT_EQ(opened(*handler, {text("go")}), Events{"close 1000"});
  }
}

TEST_F(PluginTest, MayBreakRulesOfTheCallsWithoutHarm) {
  auto handler = configured();
  then_on_message = [](const PluginServer* server, std::string_view) {
    EXPECT_EQ(server->send(nullptr, kPluginText, nullptr, 0), 0u);
    EXPECT_EQ(server->send(server, kPluginText, nullptr, 5), 0u);
    EXPECT_EQ(server->header_get(server, nullptr), nullptr);
    EXPECT_EQ(server->header_get(nullptr, "Host"), nullptr);
    EXPECT_EQ(server->request(nullptr), nullptr);
    EXPECT_EQ(server->protocol_index(server, 0), nullptr);
    EXPECT_EQ(server->protocol_count(nullptr), 0u);
    server->protocol_set(nullptr, nullptr);
    server->header_set(nullptr, nullptr, nullptr);
    server->close(nullptr);
  };
  EXPECT_EQ(opened(*handler, {text("go"), close_frame(1000)}), (Events{"text", "close 1000"}));
}

// ---- Exceptions ---------------------------------------------------------------------------------

TEST_F(PluginTest, WhatItThrowsIsCaught) {
  auto handler = configured();
  then_on_message = [](const PluginServer*, std::string_view) { throw 1; };
  EXPECT_EQ(opened(*handler, {text("go")}), Events{"close 1011"});
  EXPECT_EQ(log.all, Events{"error: exception left message"});

  then_on_disconnect = [](const PluginServer*) { throw std::runtime_error("no"); };
  { EXPECT_EQ(opened(*handler, {close_frame(1000)}), Events{"close 1000"}); }
  {
    Request request;
    EXPECT_EQ(handler->handshake(request), 0);
  }
  then_on_connect = [](const PluginServer*) -> void* { throw 2; };
  Request request;
  EXPECT_EQ(handler->handshake(request), 500);
  EXPECT_FALSE(request.companion);
}

}  // namespace
}  // namespace mws
