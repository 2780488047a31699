// ABIs 1 and 2 in numbers, on platforms where int has 32 bits, long and pointers 64 (LP64). Later
// ABIs may add to the ends of the tables and to the enums; nothing that is here ever changes.
#include <gtest/gtest.h>

#include <cstddef>

#include "mod_websocket/handler_abi.h"

#ifdef __LP64__

#define AT(TABLE, FIELD, OFFSET, SIZE)             \
  static_assert(offsetof(TABLE, FIELD) == OFFSET); \
  static_assert(sizeof(TABLE::FIELD) == SIZE)

AT(ws_host, size, 0, 4);
AT(ws_host, abi, 4, 4);
AT(ws_host, log, 8, 8);
AT(ws_host, param, 16, 8);
AT(ws_host, request_fact, 24, 8);
AT(ws_host, request_header, 32, 8);
AT(ws_host, request_subprotocol, 40, 8);
AT(ws_host, request_cookie, 48, 8);
AT(ws_host, request_parameter, 56, 8);
AT(ws_host, request_headers, 64, 8);
AT(ws_host, accept_subprotocol, 72, 8);
AT(ws_host, add_header, 80, 8);
AT(ws_host, set_body, 88, 8);
AT(ws_host, set_note, 96, 8);
AT(ws_host, send, 104, 8);
AT(ws_host, send_buffer, 112, 8);
AT(ws_host, send_fragment, 120, 8);
AT(ws_host, ping, 128, 8);
AT(ws_host, close, 136, 8);
AT(ws_host, abort, 144, 8);
AT(ws_host, buffered_amount, 152, 8);
AT(ws_host, pause, 160, 8);
AT(ws_host, resume, 168, 8);
AT(ws_host, set_timer, 176, 8);
AT(ws_host, cancel_timer, 184, 8);
AT(ws_host, fact, 192, 8);
AT(ws_host, header, 200, 8);
AT(ws_host, set_user_data, 208, 8);
AT(ws_host, user_data, 216, 8);
AT(ws_host, handle, 224, 8);
AT(ws_host, handle_send, 232, 8);
AT(ws_host, handle_send_buffer, 240, 8);
AT(ws_host, handle_close, 248, 8);
AT(ws_host, handle_buffered_amount, 256, 8);
AT(ws_host, handle_post, 264, 8);
AT(ws_host, handle_is_open, 272, 8);
AT(ws_host, buffer, 280, 8);
AT(ws_host, buffer_retain, 288, 8);
AT(ws_host, buffer_release, 296, 8);
// ABI 2:
AT(ws_host, subscribe, 304, 8);
AT(ws_host, unsubscribe, 312, 8);
AT(ws_host, handle_subscribe, 320, 8);
AT(ws_host, handle_unsubscribe, 328, 8);
AT(ws_host, publish, 336, 8);
static_assert(sizeof(ws_host) >= 344);

AT(ws_handler, size, 0, 4);
AT(ws_handler, abi, 4, 4);
AT(ws_handler, flags, 8, 8);
AT(ws_handler, keep_headers, 16, 8);
AT(ws_handler, configure, 24, 8);
AT(ws_handler, shutdown, 32, 8);
AT(ws_handler, handshake, 40, 8);
AT(ws_handler, open, 48, 8);
AT(ws_handler, message, 56, 8);
AT(ws_handler, close, 64, 8);
AT(ws_handler, fragment, 72, 8);
AT(ws_handler, drained, 80, 8);
AT(ws_handler, ping, 88, 8);
AT(ws_handler, pong, 96, 8);
AT(ws_handler, timer, 104, 8);
// ABI 2:
AT(ws_handler, subscribed, 112, 8);
AT(ws_handler, gap, 120, 8);
static_assert(sizeof(ws_handler) >= 128);

AT(ws_subscription, size, 0, 4);
AT(ws_subscription, flags, 4, 4);
AT(ws_subscription, since, 8, 8);
AT(ws_subscription, last, 16, 8);
static_assert(sizeof(ws_subscription) >= 24);
AT(ws_published, size, 0, 4);
AT(ws_published, result, 4, 4);
AT(ws_published, id, 8, 8);
AT(ws_published, subscribers, 16, 8);
static_assert(sizeof(ws_published) >= 24);
AT(ws_publishing, size, 0, 4);
AT(ws_publishing, flags, 4, 4);
AT(ws_publishing, done, 8, 8);
AT(ws_publishing, context, 16, 8);
static_assert(sizeof(ws_publishing) >= 24);
static_assert(WS_LOCAL_ONLY == 3);
static_assert(WS_LIMIT == -5);
static_assert(WS_ENVELOPED == 1);
static_assert(WS_TRANSIENT == 2);
static_assert(WS_MAX_TOPIC == 255);

AT(ws_handle, id, 0, 8);
static_assert(sizeof(ws_handle) == 8);
AT(ws_text, data, 0, 8);
AT(ws_text, size, 8, 8);
static_assert(sizeof(ws_text) == 16);

static_assert(sizeof(ws_type) == 4);
static_assert(sizeof(ws_level) == 4);
static_assert(sizeof(ws_result) == 4);
static_assert(sizeof(ws_fact) == 4);
static_assert(WS_TEXT == 1);
static_assert(WS_BINARY == 2);
static_assert(WS_ERROR == 0);
static_assert(WS_WARNING == 1);
static_assert(WS_NOTICE == 2);
static_assert(WS_INFO == 3);
static_assert(WS_DEBUG == 4);
static_assert(WS_OK == 0);
static_assert(WS_QUEUED == 1);
static_assert(WS_HIGH_WATER == 2);
static_assert(WS_CLOSED == -1);
static_assert(WS_INVALID == -2);
static_assert(WS_WRONG_THREAD == -3);
static_assert(WS_NO_MEMORY == -4);
static_assert(WS_PATH == 0);
static_assert(WS_QUERY == 1);
static_assert(WS_HOST == 2);
static_assert(WS_USER == 3);
static_assert(WS_REMOTE_ADDRESS == 4);
static_assert(WS_SUBPROTOCOL == 5);
static_assert(WS_TLS_VERSION == 6);
static_assert(WS_TLS_CIPHER == 7);
static_assert(WS_TLS_SERVER_NAME == 8);
static_assert(WS_TLS_CLIENT_SUBJECT == 9);
static_assert(WS_EXTENSIONS == 10);
static_assert(WS_PATH_BELOW == 11);
static_assert(WS_LOCAL_ADDRESS == 12);
static_assert(WS_AUTH_TYPE == 13);
static_assert(WS_NOTE == 14);
static_assert(WS_METHOD == 100);
static_assert(WS_URI == 101);
static_assert(WS_EXTENSIONS_OFFERED == 102);
static_assert(WS_UNCOMPRESSED == 1);
static_assert(WS_BLOCKING == 1);
static_assert(WS_FIRST == 1);
static_assert(WS_LAST == 2);
static_assert(WS_TIMERS >= 8);

#undef AT
#endif

#include "src/handler/topics.h"
#include "src/pubsub/local_bus.h"
#include "tests/unit/handler_support.h"
#include "tests/unit/topics_support.h"

namespace mws {
namespace {

using namespace test;

// A handler that was compiled against the header of ABI 1, with the server of today.
std::unique_ptr<Handler> load_of_abi(const std::string& abi, const char* symbol, Params params,
                                     LogSink& log) {
  auto library = Library::load(TEST_BUILD_DIR "/tests/abi/" + abi + "/handler.so", symbol, log);
  if (!library) {
    ADD_FAILURE() << library.reason();
    return nullptr;
  }
  auto handler = Handler::configure(*library, {.params = std::move(params)});
  return handler ? std::move(*handler) : nullptr;
}

struct AbiTest : testing::TestWithParam<const char*> {
  Lines log;
  std::unique_ptr<Handler> load(Params params) {
    return load_of_abi("1", GetParam(), std::move(params), log);
  }
};
INSTANTIATE_TEST_SUITE_P(One, AbiTest, testing::Values("websocket_handler", "blocking"));

TEST_P(AbiTest, AHandlerOfItWorksInAllItDoes) {
  EXPECT_EQ(load({}), nullptr) << "it refuses";
  auto handler = load({{"greeting", "welcome"}});
  ASSERT_TRUE(handler);
  Request request;
  EXPECT_EQ(handler->handshake(request), 403);
  EXPECT_EQ(request.content_type + " " + request.body, "text/plain no");
  request.headers = {{"Host", "example"}, {"Cookie", "a=b; sid=note"}};
  request.facts.set(WS_QUERY, "room=1");
  request.facts.set(WS_METHOD, "GET");
  request.subprotocols = {"one"};
  ASSERT_EQ(handler->handshake(request), 0);
  EXPECT_EQ(request.response_headers.at(0).second, "1");

  Client client;
  behave(client);
  client.room = 1;
  client.sends(text("hello") + ping("ping"));
  {
    Loop loop(4096);
    loop.any_thread_adopt(
        std::make_unique<Connection>(client.transport(), *handler,
                                     SessionSettings{.streams = handler->streams()},
                                     handler->attach(request)),
        {});
    run(loop, [&](int) {
      if (!client.writes.empty()) client.room = kUnlimited;
      if (client.has("binary ping") && client.has("text timer") && !client.unread())
        client.sends(client_frame(0x8a, "p"));
    });
  }
  ASSERT_TRUE(handler->finish(600'000));
  for (const char* frame : {"text welcome", "text note", "text example", "binary h", "text posted",
                            "first text hello", "last !", "pong ping", "binary ping"})
    EXPECT_TRUE(client.has(frame)) << frame;
  EXPECT_EQ(client.has("ping p"), handler->streams());
  EXPECT_GE(log.count("notice: drained") + log.count("notice: queued"), 1);
  EXPECT_EQ(log.count("warning: closed") + log.count("warning: lost"), 1);
  handler.reset();
  EXPECT_EQ(log.count("info: welcome"), 1);
  EXPECT_EQ(log.count("debug: released"), 1);
}

// The same of ABI 2, for which there is a hub.
TEST(Abi2Test, AHandlerOfItWorksInAllItDoes) {
  Lines log;
  auto handler = load_of_abi("2", kDefaultSymbol, {}, log);
  ASSERT_TRUE(handler);
  TopicMemory memory({.ring_bytes = 65536, .history_bytes = 65536, .topics = 16, .seats = 2});
  auto topics = memory.topics();
  LocalBus bus(*topics);
  Client client;
  behave(client);
  {
    Loop loop(4096);
    Hub hub(bus, [&]() -> Loop& { return loop; });
    set_process_hub(&hub);
    loop.any_thread_adopt(
        std::make_unique<Connection>(client.transport(), *handler, SessionSettings{},
                                     handler->attach(Request())),
        {});
    bool sent = false, ended = false;
    run(loop, [&](int) {
      if (!sent && client.has("text subscribed one 0") && client.has("text subscribed two 0"))
        sent = true, client.sends(text("live"));
      if (!ended && client.has("text live")) ended = true, client.sends(close_frame(1000));
    });
    set_process_hub(nullptr);
  }
  topics->leave(getpid());
  for (const char* frame : {"text done ok 0", "text kept", "text subscribed one 0", "text live",
                            "text subscribed two 0"})
    EXPECT_TRUE(client.has(frame)) << frame;
  EXPECT_FALSE(client.has("text passing")) << "it was not kept";
  Events frames = client.frames();
  EXPECT_EQ(std::count_if(frames.begin(), frames.end(),
                          [](const std::string& frame) {
                            return frame.find(R"("topic":"two")") != frame.npos &&
                                   frame.ends_with(R"("data":"second"})");
                          }),
            1);
  EXPECT_TRUE(log.all.empty());
}

}  // namespace
}  // namespace mws
