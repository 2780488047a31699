// Every function of the host, with all that a handler can get wrong.
#include <gtest/gtest.h>

#include "src/handler/host.h"
#include "src/handler/peer.h"
#include "tests/unit/handler_support.h"

namespace mws {
namespace {

using namespace test;

const ws_host host = host_functions();
const char* const kKept[] = {"Cookie", "X-Empty", "X-Missing", nullptr};

// As in a callback of the connection from now on.
ws_connection* abi(Connection& connection) {
  auto* peer = static_cast<ws_connection*>(connection.attachment());
  peer->connection = &connection;
  current_call = {peer, true};
  return peer;
}
// As in its handshake from now on.
ws_request* abi(HandshakeRequest& request) {
  current_request = &request;
  return reinterpret_cast<ws_request*>(&request);
}

struct Case {
  Client client;
  Log log;
  Loop loop{4096};
  Request request;
  Lines mistakes;
  std::unique_ptr<Handler> handler = configured("face_plain", mistakes);

  Case() {
    behave(client);
    request.facts.set(WS_PATH, "/path");
    request.facts.set(WS_QUERY, "");
    request.headers = {{"Cookie", "a=b"}, {"X-Empty", ""}, {"X-Not-Kept", "secret"}};
    request.subprotocols = {"one", "two"};
  }
  ~Case() {  // else tests after it would be in that callback still
    current_call = {};
    current_request = nullptr;
  }

  // Calls inside of open, then lets the client close.
  Events inside(std::function<void(ws_connection*)> call) {
    log.then_on_open = [=](Connection& c) { call(abi(c)); };
    client.sends(close_frame(1000));
    connect();
    EXPECT_EQ(log.closed, 1);
    return client.frames();
  }

  void connect() {
    loop.any_thread_adopt(
        std::make_unique<Connection>(client.transport(), log, SessionSettings{},
                                     make_ref<ws_connection>(*handler, request, kKept)),
        {});
    run(loop);
  }
};

struct HostTest : testing::Test, Case {};

TEST_F(HostTest, SaysItsSizeAndVersionAndSetsAllOfItsFunctions) {
  EXPECT_EQ(host.size, sizeof(ws_host));
  EXPECT_EQ(host.abi, WS_ABI_VERSION);
  Lines lines;
  auto library = Library::load(object("face_plain"), kDefaultSymbol, lines);
  ASSERT_TRUE(library);
  for (bool set : {host.param != nullptr, host.request_fact != nullptr,
                   host.request_header != nullptr, host.request_subprotocol != nullptr,
                   host.accept_subprotocol != nullptr, host.send != nullptr, host.close != nullptr,
                   host.buffered_amount != nullptr, host.fact != nullptr, host.header != nullptr,
                   host.set_user_data != nullptr, host.user_data != nullptr})
    EXPECT_TRUE(set);
}

TEST_F(HostTest, WithNullForEverythingDoesNothing) {
  EXPECT_EQ(host.param(nullptr, "key"), nullptr);
  ws_config config;
  EXPECT_EQ(host.param(&config, nullptr), nullptr);
  EXPECT_EQ(host.request_fact(nullptr, WS_PATH).data, nullptr);
  EXPECT_EQ(host.request_header(nullptr, "Cookie").data, nullptr);
  EXPECT_EQ(host.request_header(abi(request), nullptr).data, nullptr);
  EXPECT_EQ(host.request_subprotocol(nullptr, 0).data, nullptr);
  EXPECT_EQ(host.accept_subprotocol(nullptr, "one"), WS_INVALID);
  EXPECT_EQ(host.accept_subprotocol(abi(request), nullptr), WS_INVALID);
  EXPECT_EQ(host.send(nullptr, WS_TEXT, "x", 1, 0), WS_WRONG_THREAD);
  EXPECT_EQ(host.close(nullptr, 1000, nullptr, 0), WS_WRONG_THREAD);
  EXPECT_EQ(host.buffered_amount(nullptr), 0u);
  EXPECT_EQ(host.fact(nullptr, WS_PATH).data, nullptr);
  EXPECT_EQ(host.header(nullptr, "Cookie").data, nullptr);
  host.set_user_data(nullptr, &request);
  EXPECT_EQ(host.user_data(nullptr), nullptr);
}

TEST_F(HostTest, GivesParameters) {
  ws_config config{{{"key", "value"}, {"empty", ""}}};
  EXPECT_STREQ(host.param(&config, "key"), "value");
  EXPECT_STREQ(host.param(&config, "empty"), "");
  EXPECT_EQ(host.param(&config, "Key"), nullptr);
}

TEST_F(HostTest, ShowsTheRequest) {
  EXPECT_EQ(shown(host.request_fact(abi(request), WS_PATH)), "/path");
  EXPECT_EQ(shown(host.request_fact(abi(request), WS_QUERY)), "");
  EXPECT_EQ(shown(host.request_fact(abi(request), WS_USER)), "none");
  for (int fact : {6, 7, 1000, -1})
    EXPECT_EQ(shown(host.request_fact(abi(request), ws_fact(fact))), "none");
  EXPECT_EQ(shown(host.request_header(abi(request), "X-Not-Kept")), "secret");
  EXPECT_EQ(shown(host.request_header(abi(request), "X-Missing")), "none");
  EXPECT_EQ(shown(host.request_subprotocol(abi(request), 1)), "two");
  for (size_t index : {size_t(2), SIZE_MAX})
    EXPECT_EQ(shown(host.request_subprotocol(abi(request), index)), "none");
}

TEST_F(HostTest, AcceptsASubprotocolThatWasOfferedAndTheLastCallCounts) {
  EXPECT_EQ(host.accept_subprotocol(abi(request), "three"), WS_INVALID);
  EXPECT_EQ(host.accept_subprotocol(abi(request), ""), WS_INVALID);
  EXPECT_EQ(host.accept_subprotocol(abi(request), "ONE"), WS_INVALID);
  EXPECT_EQ(shown(request.facts.get(WS_SUBPROTOCOL)), "none");
  EXPECT_EQ(host.accept_subprotocol(abi(request), "two"), WS_OK);
  EXPECT_EQ(host.accept_subprotocol(abi(request), "one"), WS_OK);
  EXPECT_EQ(host.accept_subprotocol(abi(request), "three"), WS_INVALID);
  EXPECT_EQ(shown(request.facts.get(WS_SUBPROTOCOL)), "one");
}

TEST_F(HostTest, NotesASubprotocolThatWouldForgeAHeader) {
  for (const char* name : {"two\r\nX-Split: yes", "two\n", "\rtwo", "t\x01wo", "two\x7f"}) {
    Request forged;
    forged.subprotocols = {"two"};
    EXPECT_EQ(host.accept_subprotocol(abi(forged), name), WS_INVALID);
    EXPECT_EQ(host.accept_subprotocol(abi(forged), "two"), WS_OK);
    EXPECT_TRUE(forged.forged) << name;
  }
  for (const char* name : {"two", "three", "", "caf\xc3\xa9"}) {
    host.accept_subprotocol(abi(request), name);
    EXPECT_FALSE(request.forged) << name;
  }
}

TEST_F(HostTest, KeepsFactsAndTheHeadersAskedFor) {
  host.accept_subprotocol(abi(request), "two");
  inside([](ws_connection* c) {
    EXPECT_EQ(shown(host.fact(c, WS_PATH)), "/path");
    EXPECT_EQ(shown(host.fact(c, WS_QUERY)), "");
    EXPECT_EQ(shown(host.fact(c, WS_HOST)), "none");
    EXPECT_EQ(shown(host.fact(c, WS_SUBPROTOCOL)), "two");
    for (int fact : {6, 7, 1000, -1}) EXPECT_EQ(shown(host.fact(c, ws_fact(fact))), "none");
    EXPECT_EQ(shown(host.header(c, "Cookie")), "a=b");
    EXPECT_EQ(shown(host.header(c, "cOOKIE")), "a=b");
    EXPECT_EQ(shown(host.header(c, "X-Empty")), "");
    EXPECT_EQ(shown(host.header(c, "X-Missing")), "none");
    EXPECT_EQ(shown(host.header(c, "X-Not-Kept")), "none");
    EXPECT_EQ(shown(host.header(c, nullptr)), "none");
  });
}

TEST_F(HostTest, KeepsNoHeadersForAHandlerThatNamesNone) {
  KeptFacts facts(request, nullptr);
  EXPECT_EQ(shown(facts.fact(WS_PATH)), "/path");
  EXPECT_EQ(shown(facts.header("Cookie")), "none");
}

TEST_F(HostTest, KeepsAPointerForTheHandler) {
  int mine = 0;
  inside([&](ws_connection* c) {
    EXPECT_EQ(host.user_data(c), nullptr);
    host.set_user_data(c, &mine);
    EXPECT_EQ(host.user_data(c), &mine);
  });
}

TEST_F(HostTest, SendsTextsAndBinariesOfAnySize) {
  std::string large(100'000, 'l');
  EXPECT_EQ(inside([&](ws_connection* c) {
              EXPECT_EQ(host.send(c, WS_TEXT, "h\xc3\xa9", 3, 0), WS_OK);
              EXPECT_EQ(host.send(c, WS_BINARY, "\xff\x00", 2, 0), WS_OK);
              EXPECT_EQ(host.send(c, WS_TEXT, "", 0, 0), WS_OK);
              EXPECT_EQ(host.send(c, WS_BINARY, nullptr, 0, 0), WS_OK);
              EXPECT_EQ(host.buffered_amount(c), 5u + 4u + 2u + 2u);
              EXPECT_EQ(host.send(c, WS_TEXT, large.data(), large.size(), 0), WS_OK);
            }),
            (Events{"text h\\xc3\\xa9", "binary \\xff\\x00", "text", "binary",
                    message_event(Opcode::text, large), "close 1000"}));
}

TEST_F(HostTest, SendsNothingThatItMustNot) {
  EXPECT_EQ(inside([](ws_connection* c) {
              for (int type : {0, 3, 8, 9, 10, 1000, -1})
                EXPECT_EQ(host.send(c, ws_type(type), "x", 1, 0), WS_INVALID) << type;
              for (ws_type type : {WS_TEXT, WS_BINARY}) {
                EXPECT_EQ(host.send(c, type, nullptr, 1, 0), WS_INVALID);
                EXPECT_EQ(host.send(c, type, "x", 1, 2), WS_INVALID);
                EXPECT_EQ(host.send(c, type, "x", 1, 0x80000001), WS_INVALID);
                EXPECT_EQ(host.send(c, type, "x", SIZE_MAX, 0), WS_INVALID);
                EXPECT_EQ(host.send(c, type, "x", size_t(PTRDIFF_MAX) + 1, 0), WS_INVALID);
              }
              EXPECT_EQ(host.send(c, WS_TEXT, "\xff", 1, 0), WS_INVALID);
              EXPECT_EQ(host.send(c, WS_TEXT, "cut \xc3", 5, 0), WS_INVALID);
              EXPECT_EQ(host.buffered_amount(c), 0u);
            }),
            (Events{"close 1000"}));
}

TEST_F(HostTest, SaysWhatWaits) {
  client.room = 1;
  inside([this](ws_connection* c) {
    std::string large(600'000, 'l');
    EXPECT_EQ(host.send(c, WS_TEXT, large.data(), large.size(), 0), WS_QUEUED);
    EXPECT_EQ(host.send(c, WS_TEXT, large.data(), large.size(), 0), WS_HIGH_WATER);
    EXPECT_EQ(host.buffered_amount(c), 2 * (large.size() + 10) - 1);
    client.room = kUnlimited;
  });
}

TEST_F(HostTest, ABinaryMessageSentBackAsATextIsChecked) {
  log.then_on_message = [](Connection& c, Opcode type, Bytes payload) {
    ws_result result = host.send(abi(c), WS_TEXT, payload.data(), payload.size(), 0);
    EXPECT_EQ(result, type == Opcode::text ? WS_OK : WS_INVALID);
    if (type == Opcode::binary) return;
    EXPECT_EQ(host.send(abi(c), WS_TEXT, payload.data(), payload.size() - 1, 0), WS_INVALID);
  };
  client.sends(text("caf\xc3\xa9") + binary("\xff"));
  EXPECT_EQ(inside([](ws_connection*) {}), (Events{"text caf\\xc3\\xa9", "close 1000"}));
}

TEST_F(HostTest, ClosesWithNoCodeReasonOrTextThatItMustNot) {
  EXPECT_EQ(inside([](ws_connection* c) {
              for (unsigned code = 1; code <= 65535; code++) {
                bool allowed = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                               (code >= 3000 && code <= 4999);
                if (!allowed) {
                  ASSERT_EQ(host.close(c, uint16_t(code), nullptr, 0), WS_INVALID) << code;
                }
              }
              EXPECT_EQ(host.close(c, 0, "reason", 6), WS_INVALID);
              EXPECT_EQ(host.close(c, 1000, nullptr, 1), WS_INVALID);
              EXPECT_EQ(host.close(c, 1000, std::string(124, 'r').data(), 124), WS_INVALID);
              EXPECT_EQ(host.close(c, 1000, "r", SIZE_MAX), WS_INVALID);
              EXPECT_EQ(host.close(c, 1000, "\xff", 1), WS_INVALID);
              EXPECT_EQ(host.close(c, 1000, "cut \xc3", 5), WS_INVALID);
              EXPECT_EQ(host.send(c, WS_TEXT, "still open", 10, 0), WS_OK);
            }),
            (Events{"text still open", "close 1000"}));
}

TEST_F(HostTest, ClosesWithEveryCodeThatItMay) {
  for (unsigned code = 0; code <= 4999; code++) {
    bool allowed = code == 0 || (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                   (code >= 3000 && code <= 4999);
    if (!allowed || (code > 3005 && code < 4995)) continue;
    Case each;
    std::string reason(code ? 123 : 0, 'r');
    each.log.then_on_open = [&](Connection& c) {
      EXPECT_EQ(host.close(abi(c), uint16_t(code), reason.data(), reason.size()), WS_OK);
      EXPECT_EQ(host.close(abi(c), uint16_t(code), nullptr, 0), WS_CLOSED);
      EXPECT_EQ(host.send(abi(c), WS_TEXT, "late", 4, 0), WS_CLOSED);
      EXPECT_EQ(host.send(abi(c), WS_TEXT, "\xff", 1, 0), WS_INVALID);
      EXPECT_EQ(host.close(abi(c), 1004, nullptr, 0), WS_INVALID);
    };
    each.connect();
    EXPECT_EQ(each.client.frames(),
              (Events{joined("close " + std::to_string(code ? code : 1005), reason)}));
  }
}

TEST_F(HostTest, AfterTheEndSaysThatItIsClosed) {
  log.then_on_close = [](Connection& c) {
    EXPECT_EQ(host.send(abi(c), WS_TEXT, "late", 4, 0), WS_CLOSED);
    EXPECT_EQ(host.close(abi(c), 1000, nullptr, 0), WS_CLOSED);
    EXPECT_EQ(shown(host.fact(abi(c), WS_PATH)), "/path");
  };
  EXPECT_EQ(inside([](ws_connection*) {}), (Events{"close 1000"}));
}

}  // namespace
}  // namespace mws
