#include "src/handler/handler.h"

#include <gtest/gtest.h>

#include "tests/unit/handler_support.h"

namespace mws {
namespace {

using namespace test;

struct HandlerTest : testing::Test {
  Lines log;

  std::string refusal(const std::string& name, const std::string& symbol, Params params) {
    auto library = Library::load(object(name), symbol, log);
    EXPECT_TRUE(library);
    auto handler = Handler::configure(*library, {.params = std::move(params)});
    EXPECT_FALSE(handler);
    std::string why = handler ? "" : handler.reason();
    EXPECT_TRUE(why.starts_with(object(name) + ": ")) << why;
    return why.substr(object(name).size() + 2);
  }
};

// ---- Configuring --------------------------------------------------------------------------------

TEST_F(HandlerTest, ShutsDownOnceForEachSuccessfulConfigureWithItsStateAndThenUnloads) {
  {
    auto one = configured("tables", log, {}, "whole");
    auto two = configured("tables", log, {{"key", "value"}}, "whole");
    EXPECT_EQ(log.all, (Events{"info: whole", "info: configure", "info: configure"}));
    one.reset();
    EXPECT_EQ(log.count("info: state"), 1);
    EXPECT_TRUE(is_in_memory(object("tables")));
  }
  EXPECT_EQ(log.count("info: state"), 2);
  EXPECT_FALSE(is_in_memory(object("tables")));
}

TEST_F(HandlerTest, ThatRefusesItsConfigurationSaysWhyAndIsNotShutDown) {
  EXPECT_EQ(refusal("tables", "whole", {{"fail", "no such colour"}}), "no such colour");
  EXPECT_EQ(refusal("tables", "whole", {{"fail", ""}}), "configure failed and does not say why");
  EXPECT_EQ(refusal("tables", "whole", {{"fail", "long"}}), std::string(511, 'x'));
  EXPECT_EQ(log.count("info: state"), 0);
  EXPECT_FALSE(is_in_memory(object("tables")));
}

TEST_F(HandlerTest, OneMayStayInUseWhenAnotherOfTheSameObjectIsRefused) {
  auto first = configured("tables", log, {}, "whole");
  EXPECT_EQ(refusal("tables", "whole", {{"fail", "no"}}), "no");
  EXPECT_EQ(talk(*first, {text("hello"), close_frame(1000)}), (Events{"text hello", "close 1000"}));
  first.reset();
  EXPECT_EQ(log.count("info: state"), 1);
}

TEST_F(HandlerTest, WithNothingButAMessageCallbackWorks) {
  auto handler = configured("tables", log, {}, "only_message");
  Request request;
  EXPECT_EQ(handler->handshake(request), 0);
  EXPECT_EQ(talk(*handler, {text("hello"), close_frame(1000)}),
            (Events{"text hello", "close 1000"}));
}

TEST_F(HandlerTest, WithWorkersCanBeDestroyedAfterItHasFinished) {
  auto handler = configured("tables", log, {}, "only_message", "", 1);
  EXPECT_TRUE(talk(*handler, {text("hello"), close_frame(1000)}).size());
  EXPECT_TRUE(handler->finish(30'000));
  handler.reset();
}

TEST_F(HandlerTest, AHandleThatWasAskedForInCloseNamesAConnectionThatHasGone) {
  auto handler = configured("tables", log, {}, "handle_in_close");
  EXPECT_EQ(talk(*handler, {close_frame(1000)}), (Events{"close 1000"}));
  handler.reset();
  EXPECT_EQ(log.count("info: gone"), 1);
}

TEST_F(HandlerTest, OfAnOlderAbiIsNotCalledForWhatItDoesNotKnow) {
  auto handler = configured("tables", log, {}, "without_close");
  EXPECT_EQ(talk(*handler, {text("hello"), close_frame(1000)}),
            (Events{"text hello", "close 1000"}));
  EXPECT_EQ(log.all,
            (Events{"info: without_close", "info: configure", "info: open", "info: message"}));
}

TEST_F(HandlerTest, OfANewerTableIsCalledForWhatTheServerKnows) {
  auto handler = configured("tables", log, {}, "larger");
  talk(*handler, {text("hello"), close_frame(1000)});
  EXPECT_EQ(log.all, (Events{"info: larger", "info: configure", "info: open", "info: message",
                             "info: close"}));
}

TEST_F(HandlerTest, ThatWouldForgeAHeaderIsAnsweredWith500UnlessItRejects) {
  auto handler = configured("tables", log, {}, "forges");
  Request accepted, rejected;
  EXPECT_EQ(handler->handshake(accepted), 500);
  EXPECT_EQ(log.all.back(),
            "error: handshake chose a subprotocol with a line break or another control character");
  rejected.headers["Status"] = "403";
  EXPECT_EQ(handler->handshake(rejected), 403);
}

// ---- Exceptions that leave a callback -----------------------------------------------------------

TEST_F(HandlerTest, AnExceptionOutOfConfigureRefusesTheConfiguration) {
  EXPECT_EQ(refusal("throws", kDefaultSymbol, {{"throw", "configure"}}),
            "configure failed and does not say why");
  EXPECT_EQ(refusal("throws", kDefaultSymbol, {{"throw", "configure"}, {"what", "number"}}),
            "configure failed and does not say why");
  EXPECT_EQ(log.all, (Events{"error: exception left configure: out of order",
                             "error: exception left configure"}));
}

TEST_F(HandlerTest, AnExceptionOutOfHandshakeIsAnsweredWith500) {
  auto handler = configured("throws", log, {{"throw", "handshake"}});
  Request request;
  EXPECT_EQ(handler->handshake(request), 500);
  EXPECT_EQ(log.all, (Events{"error: exception left handshake: out of order"}));
}

TEST_F(HandlerTest, AnExceptionOutOfOpenOrMessageClosesWith1011) {
  for (std::string callback : {"open", "message"})
    for (std::string what : {"text", "number"}) {
      Lines lines;
      auto handler = configured("throws", lines, {{"throw", callback}, {"what", what}});
      EXPECT_EQ(talk(*handler, {text("hello"), text("again")}), (Events{"close 1011"}));
      EXPECT_EQ(lines.all, (Events{"error: exception left " + callback +
                                   (what == "text" ? ": out of order" : "")}));
    }
}

TEST_F(HandlerTest, AnExceptionOutOfCloseIsLoggedOnly) {
  auto handler = configured("throws", log, {{"throw", "close"}});
  EXPECT_EQ(talk(*handler, {text("hello"), close_frame(1000)}),
            (Events{"text hello", "close 1000"}));
  EXPECT_EQ(log.all, (Events{"error: exception left close: out of order"}));
}

TEST_F(HandlerTest, AnExceptionOutOfShutdownIsLoggedOnly) {
  configured("throws", log, {{"throw", "shutdown"}}).reset();
  EXPECT_EQ(log.all, (Events{"info: shutdown", "error: exception left shutdown: out of order"}));
  EXPECT_FALSE(is_in_memory(object("throws")));
}

// ---- The handshake ------------------------------------------------------------------------------

TEST_F(HandlerTest, RejectsWithTheStatusesThatItMayRejectWith) {
  auto handler = configured("tables", log, {}, "whole");
  for (int status : {0, 1, 101, 200, 302, 399, 400, 403, 418, 500, 599, 600, 100'000}) {
    Request request;
    request.headers["Status"] = std::to_string(status);
    bool allowed = status == 0 || (status >= 300 && status <= 599);
    log.all.clear();
    EXPECT_EQ(handler->handshake(request), allowed ? status : 500);
    EXPECT_EQ(log.all.size(), allowed ? 0u : 1u) << status;
  }
  EXPECT_EQ(log.all[0],
            "error: handshake returned 100000, which is neither 0 nor a status from "
            "300 to 599");
}

// ---- The C++ face -------------------------------------------------------------------------------

TEST_F(HandlerTest, OfAClassWithoutConfigWorksAsItIs) {
  auto handler = configured("face_plain", log, {{"some", "param"}});
  Request request;
  EXPECT_EQ(handler->handshake(request), 0);
  EXPECT_EQ(talk(*handler, {text("hello"), binary("\xff"), text(""), close_frame(1000)}),
            (Events{"text hello", "binary \\xff", "text", "close 1000"}));
  handler.reset();
  EXPECT_FALSE(is_in_memory(object("face_plain")));
}

TEST_F(HandlerTest, OfAClassGetsTheParametersOfItsLocation) {
  auto one = configured("face", log, {{"greeting", "welcome"}});
  auto two = configured("face", log, {{"greeting", "go away"}});
  EXPECT_EQ(talk(*one, {close_frame(1000)}), (Events{"text welcome", "close 1000"}));
  EXPECT_EQ(talk(*two, {close_frame(1000)}), (Events{"text go away", "close 1000"}));
}

TEST_F(HandlerTest, OfAClassWhoseConstructorThrowsIsRefusedWithItsText) {
  EXPECT_EQ(refusal("face", kDefaultSymbol, {{"fail", "text"}}), "greeting is too rude");
  EXPECT_EQ(refusal("face", kDefaultSymbol, {{"fail", "number"}}), "exception in the constructor");
  EXPECT_FALSE(is_in_memory(object("face")));
}

TEST_F(HandlerTest, OfAClassIsDestroyedBeforeItIsUnloaded) {
  configured("face", log).reset();
  EXPECT_EQ(log.all, (Events{"notice: destroyed"}));
  EXPECT_FALSE(is_in_memory(object("face")));
}

TEST_F(HandlerTest, OfAClassAnswersTheHandshake) {
  auto handler = configured("face", log);
  Request plain;
  EXPECT_EQ(handler->handshake(plain), 0);
  EXPECT_EQ(plain.facts.get(WS_SUBPROTOCOL).data, nullptr);
  Request offering;
  offering.subprotocols = {"chat", "superchat"};
  EXPECT_EQ(handler->handshake(offering), 0);
  EXPECT_EQ(shown(offering.facts.get(WS_SUBPROTOCOL)), "chat");
  Request forbidden;
  forbidden.facts.set(WS_PATH, "/forbidden");
  EXPECT_EQ(handler->handshake(forbidden), 403);
}

TEST_F(HandlerTest, OfAClassSeesFactsAndKeptHeadersAfterTheRequestIsGone) {
  auto handler = configured("face", log);
  Request request;
  request.facts.set(WS_PATH, "/chat");
  request.facts.set(WS_QUERY, "room=1");
  request.facts.set(WS_USER, "ada");
  request.facts.set(WS_REMOTE_ADDRESS, "192.0.2.1");
  request.headers["Cookie"] = "a=b";
  EXPECT_EQ(talk(*handler, {text("facts"), close_frame(1000)}, request),
            (Events{"text /chat?room=1 \"ada\" none 192.0.2.1 \"a=b\" none", "close 1000"}));
}

TEST_F(HandlerTest, OfAClassMayCloseAndIsToldOnce) {
  auto handler = configured("face", log);
  EXPECT_EQ(talk(*handler, {text("one"), text("close"), text("late")}),
            (Events{"text one", "close 4000 as you wish"}));
  EXPECT_EQ(log.all, (Events{"info: closed after 2 with 4000 , clean"}));
}

TEST_F(HandlerTest, ExceptionsInAClassAreLoggedAndAnswered) {
  auto handler = configured("face", log);
  Request request;
  request.headers["Throw"] = "text";
  EXPECT_EQ(handler->handshake(request), 500);
  request.headers["Throw"] = "number";
  EXPECT_EQ(handler->handshake(request), 500);
  EXPECT_EQ(talk(*handler, {text("throw text"), text("late")}), (Events{"close 1011"}));
  EXPECT_EQ(talk(*handler, {text("throw number"), text("late")}), (Events{"close 1011"}));
  EXPECT_EQ(talk(*handler, {close_frame(1000, "throw")}), (Events{"close 1000 throw"}));
  EXPECT_EQ(
      log.all,
      (Events{"error: exception in handshake: no handshake", "error: exception in handshake",
              "error: exception in message: no message", "info: closed after 1 with 1011 , clean",
              "error: exception in message", "info: closed after 1 with 1011 , clean",
              "info: closed after 0 with 1000 throw, clean",
              "error: exception in close: no close"}));
}

}  // namespace
}  // namespace mws
