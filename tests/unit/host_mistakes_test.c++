// Calls of the host from where they must not come: refused, and logged with who made them.
#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/hooks_support.h"

namespace mws {
namespace {

using namespace test;

// Calls every function that takes a connection, and expects that none does anything.
void expect_refused(const ws_host& host, ws_connection* c) {
  ws_buffer* buffer = host.buffer(&host, WS_TEXT, "x", 1, 0, nullptr, nullptr);
  EXPECT_EQ(host.send(c, WS_TEXT, "x", 1, 0), WS_WRONG_THREAD);
  EXPECT_EQ(host.send(c, ws_type(7), nullptr, SIZE_MAX, 99), WS_WRONG_THREAD);
  EXPECT_EQ(host.send_buffer(c, buffer), WS_WRONG_THREAD);
  EXPECT_EQ(host.send_fragment(c, WS_TEXT, "x", 1, 1), WS_WRONG_THREAD);
  EXPECT_EQ(host.ping(c, "x", 1), WS_WRONG_THREAD);
  EXPECT_EQ(host.close(c, 1000, nullptr, 0), WS_WRONG_THREAD);
  EXPECT_EQ(host.abort(c), WS_WRONG_THREAD);
  EXPECT_EQ(host.buffered_amount(c), 0u);
  EXPECT_EQ(host.pause(c), WS_WRONG_THREAD);
  EXPECT_EQ(host.resume(c), WS_WRONG_THREAD);
  EXPECT_EQ(host.set_timer(c, 0, 1), WS_WRONG_THREAD);
  EXPECT_EQ(host.cancel_timer(c, 0), WS_WRONG_THREAD);
  EXPECT_EQ(host.fact(c, WS_PATH).data, nullptr);
  EXPECT_EQ(host.header(c, "Host").data, nullptr);
  host.set_user_data(c, &buffer);
  EXPECT_EQ(host.user_data(c), nullptr);
  EXPECT_EQ(host.handle(c).id, 0u);
  host.buffer_release(buffer);
}

std::string refusal(const std::string& function, const std::string& what) {
  return "error: /here: " + function + "() refused: " + what;
}
const std::string kElsewhere =
    "not in a callback of this connection: on another thread, or after its close; for these there "
    "are handles";

struct HostMistakesTest : testing::TestWithParam<int> {
  Hooked hooked{GetParam()};
  const ws_host& host = hooked.host;
  // Calls inside of open, then closes.
  Events inside(std::function<void(ws_connection*)> call, int* calls = nullptr) {
    Client client;
    behave(client);
    hooked.then = [&](const Event& event) {
      if (event.callback != "open") return;
      call(event.connection);
      if (calls) ++*calls;
      host.close(event.connection, 1000, nullptr, 0);
    };
    hooked.talk(client);
    return client.frames();
  }
};
INSTANTIATE_TEST_SUITE_P(OnLoopOrWorkers, HostMistakesTest, testing::Values(0, 2));

TEST_P(HostMistakesTest, OnAnotherThreadNothingIsDone) {
  EXPECT_EQ(inside([&](ws_connection* c) {
              std::thread([&] { expect_refused(host, c); }).join();
              EXPECT_EQ(host.user_data(c), nullptr);
            }),
            (Events{"close 1000"}));
}

TEST_P(HostMistakesTest, OnAThreadOfTheHandlersIsLoggedForItsFile) {
  void* object = dlopen(test::object("hooks").c_str(), RTLD_NOW);
  auto on_a_thread =
      reinterpret_cast<ws_result (*)(ws_connection*)>(dlsym(object, "send_on_a_thread"));
  inside([&](ws_connection* c) { EXPECT_EQ(on_a_thread(c), WS_WRONG_THREAD); });
  dlclose(object);
  EXPECT_EQ(hooked.log.all, (Events{refusal("send", kElsewhere)}));
}

TEST_P(HostMistakesTest, InACallbackOfAnotherConnectionNothingIsDone) {
  Client one, two;
  behave(one);
  behave(two);
  std::atomic<ws_connection*> first = nullptr;
  std::atomic<bool> tried = false;
  hooked.then = [&](const Event& event) {
    if (event.callback == "message" && event.data == "first") first = event.connection;
    if (event.callback != "message" || event.data != "second") return;
    expect_refused(host, first);
    EXPECT_GE(host.send(event.connection, WS_TEXT, "fine", 4, 0), WS_OK);
    tried = true;
  };
  one.sends(text("first"));
  {
    Loop loop(4096);
    loop.any_thread_adopt(hooked.connection(one), {});
    loop.any_thread_adopt(hooked.connection(two), {});
    bool asked = false;
    run(loop, [&](int) {
      if (first && !asked) asked = true, two.sends(text("second"));
      if (!tried || one.told_finished || one.unread()) return;
      one.sends(close_frame(1000));
      two.sends(close_frame(1000));
    });
  }
  EXPECT_TRUE(hooked.handler->finish(600'000));
  EXPECT_EQ(one.frames(), (Events{"close 1000"}));
  EXPECT_EQ(two.frames(), (Events{"text fine", "close 1000"}));
  EXPECT_EQ(hooked.log.all.at(0), refusal("send", kElsewhere));
}

TEST_P(HostMistakesTest, AfterItsCloseNothingIsDone) {
  ws_connection* gone = nullptr;
  inside([&](ws_connection* c) { gone = c; });
  expect_refused(host, gone);
  expect_refused(host, nullptr);
}

TEST_P(HostMistakesTest, AreLoggedWithTheLocationAndWhatIsWrong) {
  inside([&](ws_connection* c) {
    EXPECT_EQ(host.send(nullptr, WS_TEXT, "x", 1, 0), WS_WRONG_THREAD);
    EXPECT_EQ(host.send(c, WS_TEXT, "\xff", 1, 0), WS_INVALID);
    EXPECT_EQ(host.send(c, ws_type(9), "x", 1, 0), WS_INVALID);
    EXPECT_EQ(host.send(c, WS_TEXT, "x", size_t(PTRDIFF_MAX) + 1, 0), WS_INVALID);
    EXPECT_EQ(host.send_fragment(c, WS_TEXT, nullptr, 1, 0), WS_INVALID);
    EXPECT_EQ(host.send_fragment(c, ws_type(0), "x", 1, 0), WS_INVALID);
    EXPECT_EQ(host.send_buffer(c, nullptr), WS_INVALID);
    EXPECT_EQ(host.ping(c, std::string(126, 'p').data(), 126), WS_INVALID);
    EXPECT_EQ(host.ping(c, nullptr, 1), WS_INVALID);
    EXPECT_EQ(host.close(c, 999, nullptr, 0), WS_INVALID);
    EXPECT_EQ(host.set_timer(c, WS_TIMERS, 1), WS_INVALID);
    EXPECT_EQ(host.cancel_timer(c, UINT32_MAX), WS_INVALID);
    EXPECT_EQ(host.handle_send({1}, WS_TEXT, "\xff", 1, 0), WS_INVALID);
    EXPECT_EQ(host.handle_post({1}, nullptr, nullptr), WS_INVALID);
    EXPECT_EQ(host.buffer(&host, WS_TEXT, "\xff", 1, 0, nullptr, nullptr), nullptr);
  });
  EXPECT_EQ(
      hooked.log.all,
      (Events{refusal("send", "NULL is no connection"), refusal("send", "a text that is not UTF-8"),
              refusal("send", "neither WS_TEXT nor WS_BINARY"),
              refusal("send", "NULL with a size, or more bytes than there can be"),
              refusal("send_fragment", "NULL with a size, or more bytes than there can be"),
              refusal("send_fragment", "neither WS_TEXT nor WS_BINARY"),
              refusal("send_buffer", "NULL is no buffer"),
              refusal("ping", "more than 125 bytes, or NULL with a size"),
              refusal("ping", "more than 125 bytes, or NULL with a size"),
              refusal("close", "a code that may not be sent, or a reason without a code"),
              refusal("set_timer", "an id above 7, the last"),
              refusal("cancel_timer", "an id above 7, the last"),
              refusal("handle_send", "a text that is not UTF-8"),
              refusal("handle_post", "NULL is no function"),
              refusal("buffer", "a text that is not UTF-8")}));
}

TEST_P(HostMistakesTest, DoNotFillTheLog) {
  inside([&](ws_connection* c) {
    for (int i = 0; i < 10'000; i++) host.send(c, WS_TEXT, "\xff", 1, 0);
  });
  EXPECT_GE(hooked.log.all.size(), 20u);
  EXPECT_LT(hooked.log.all.size(), 1'000u);
}

}  // namespace
}  // namespace mws
