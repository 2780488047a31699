// What a handler can ask and answer in the opening handshake, however hostile the request.
#include <gtest/gtest.h>

#include <climits>

#include "tests/unit/hooks_support.h"

namespace mws {
namespace {

using namespace test;

struct HostHandshakeTest : testing::Test {
  Hooked hooked{0};
  const ws_host& host = hooked.host;
  Request request;

  void inside(std::function<void(ws_request*)> call, int status = 0) {
    hooked.then_on_handshake = [&](ws_request* asked) {
      call(asked);
      return status;
    };
    EXPECT_EQ(hooked.handler->handshake(request), status);
  }
  std::string cookie(const std::string& header, const char* name) {
    request.headers["Cookie"] = header;
    std::string found;
    inside([&](ws_request* r) { found = shown(host.request_cookie(r, name)); });
    return found;
  }
  std::string parameter(const std::string& query, const char* name) {
    request.facts.set(WS_QUERY, {query.c_str(), query.size()});
    std::string found;
    inside([&](ws_request* r) { found = shown(host.request_parameter(r, name)); });
    return found;
  }
};

TEST_F(HostHandshakeTest, GivesTheFirstCookieOfAName) {
  EXPECT_EQ(cookie("a=b; a=c", "a"), "b");
  EXPECT_EQ(cookie("a=b; c=d", "c"), "d");
  EXPECT_EQ(cookie("a=b;c=d", "c"), "d");
  EXPECT_EQ(cookie("a=1,2; c=d", "a"), "1,2") << "not a list";
  EXPECT_EQ(cookie("a=b; c=d; e=f; g=h", "g"), "h");
  EXPECT_EQ(cookie("  a =  b \t; c=d", "a"), "b");
  EXPECT_EQ(cookie("a=\"b c\"", "a"), "\"b c\"");
  EXPECT_EQ(cookie("a=b=c==", "a"), "b=c==");
  EXPECT_EQ(cookie("a=", "a"), "");
  EXPECT_EQ(cookie("xa=1; a=2", "a"), "2");
  EXPECT_EQ(cookie("A=1; a=2", "a"), "2") << "names are case-sensitive";
  EXPECT_EQ(cookie("a=%41+b", "a"), "%41+b") << "as sent";
}

TEST_F(HostHandshakeTest, FindsNoCookieWhereThereIsNone) {
  for (const char* header : {"", ";", ";;", "=", "=x", "a", "a;", ";a", "b=a", ",,;,", "a b=c"})
    EXPECT_EQ(cookie(header, "a"), "none") << header;
  EXPECT_EQ(cookie("=x", ""), "x");
  EXPECT_EQ(cookie(std::string(100'000, ';') + "a=b", "a"), "b");
  EXPECT_EQ(cookie(std::string(100'000, 'a') + "=b", "a"), "none");
  request.headers.clear();
  inside([&](ws_request* r) { EXPECT_EQ(shown(host.request_cookie(r, "a")), "none"); });
}

TEST_F(HostHandshakeTest, GivesTheFirstParameterOfANameDecoded) {
  EXPECT_EQ(parameter("a=b&a=c", "a"), "b");
  EXPECT_EQ(parameter("a=b&c=d", "c"), "d");
  EXPECT_EQ(parameter("a=%41%4a%6A%2B+%20", "a"), "AJj+  ");
  EXPECT_EQ(parameter("%61=b", "a"), "b");
  EXPECT_EQ(parameter("a", "a"), "");
  EXPECT_EQ(parameter("a=", "a"), "");
  EXPECT_EQ(parameter("a=b=c", "a"), "b=c");
  EXPECT_EQ(parameter("a=1;b=2", "a"), "1;b=2");
  EXPECT_EQ(parameter("x+y=1", "x y"), "1");
  EXPECT_EQ(parameter("a=%00b", "a"), std::string("\0b", 2));
}

TEST_F(HostHandshakeTest, WhatIsNoEncodingStandsForItself) {
  for (const char* value : {"%", "%z", "%zz", "%4", "%4g", "%g4", "%%", "100%", "%-1", "% 41"}) {
    std::string expected = value;
    std::replace(expected.begin(), expected.end(), '+', ' ');
    EXPECT_EQ(parameter(std::string("a=") + value, "a"), expected);
  }
  EXPECT_EQ(parameter("a=%%41", "a"), "%A");
  EXPECT_EQ(parameter("a=%2541", "a"), "%41") << "decoded once";
  for (const char* query : {"", "&", "&&", "=x", "b=a", "A=1"})
    EXPECT_EQ(parameter(query, "a"), "none") << query;
  EXPECT_EQ(parameter("=x", ""), "x");
  EXPECT_EQ(parameter(std::string(100'000, '&') + "a=b", "a"), "b");
  EXPECT_EQ(parameter("a=" + std::string(100'000, '%'), "a").size(), 100'000u);
}

TEST_F(HostHandshakeTest, AddsHeadersButNotTheServersOwnNorWhatForgesOthers) {
  inside([&](ws_request* r) {
    EXPECT_EQ(host.add_header(r, "Set-Cookie", "a=b"), WS_OK);
    EXPECT_EQ(host.add_header(r, "Set-Cookie", "c=d\te\xc3\xa9"), WS_OK);
    EXPECT_EQ(host.add_header(r, "X", ""), WS_OK);
    for (const char* name : {"Connection", "upgrade", "Content-Length", "TRANSFER-ENCODING",
                             "Trailer", "Sec-WebSocket-Protocol", "sec-websocket-x", "", "a b",
                             "a:", "a\r\nb", "caf\xc3\xa9", "Sec-WebSocket-"})
      EXPECT_EQ(host.add_header(r, name, "x"), WS_INVALID) << name;
    for (const char* value : {"a\r\nb: c", "\n", "\r", "\x01", "\x7f"})
      EXPECT_EQ(host.add_header(r, "X", value), WS_INVALID) << value;
    EXPECT_EQ(host.add_header(r, nullptr, "x"), WS_INVALID);
    EXPECT_EQ(host.add_header(r, "X", nullptr), WS_INVALID);
  });
  using Headers = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(request.response_headers,
            (Headers{{"Set-Cookie", "a=b"}, {"Set-Cookie", "c=d\te\xc3\xa9"}, {"X", ""}}));
  EXPECT_EQ(hooked.log.all.back(), "error: /here: add_header() refused: NULL");
}

TEST_F(HostHandshakeTest, TheLastBodyCounts) {
  inside(
      [&](ws_request* r) {
        EXPECT_EQ(host.set_body(r, "text/html", "one", 3), WS_OK);
        EXPECT_EQ(host.set_body(r, "text/plain", "t\0o", 3), WS_OK);
        EXPECT_EQ(host.set_body(r, nullptr, "x", 1), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "", "x", 1), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "a\r\nb", "x", 1), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "text/plain", nullptr, 1), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "text/plain", "x", SIZE_MAX), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "text/plain", "x", PTRDIFF_MAX), WS_INVALID);
        EXPECT_EQ(host.set_body(r, "text/plain", "x", size_t(INT_MAX) + 1), WS_INVALID);
      },
      403);
  EXPECT_EQ(request.content_type, "text/plain");
  EXPECT_EQ(request.body, std::string("t\0o", 3));
  inside([&](ws_request* r) { EXPECT_EQ(host.set_body(r, "x", nullptr, 0), WS_OK); }, 403);
  EXPECT_EQ(request.body, "");
}

TEST_F(HostHandshakeTest, ANoteOfAtMost64KiBIsKeptForTheConnection) {
  std::string note(64 * 1024, 'n');
  inside([&](ws_request* r) {
    EXPECT_EQ(shown(host.request_fact(r, WS_NOTE)), "none");
    EXPECT_EQ(host.set_note(r, "first", 5), WS_OK);
    EXPECT_EQ(host.set_note(r, note.data(), note.size()), WS_OK);
    EXPECT_EQ(host.set_note(r, note.data(), note.size() + 1), WS_INVALID);
    EXPECT_EQ(host.set_note(r, nullptr, 1), WS_INVALID);
    EXPECT_EQ(host.set_note(nullptr, "x", 1), WS_INVALID);
  });
  hooked.then = [&](const Event& event) {
    EXPECT_EQ(shown(host.fact(event.connection, WS_NOTE)), note);
  };
  Client client;
  behave(client);
  client.sends(close_frame(1000));
  hooked.talk(client, {}, request);
  inside([&](ws_request* r) { EXPECT_EQ(host.set_note(r, nullptr, 0), WS_OK); });
  EXPECT_EQ(shown(request.facts.get(WS_NOTE)), "");
}

TEST_F(HostHandshakeTest, ShowsTheHeadersOneByOneAndLetsNoExceptionThrough) {
  request.headers = {{"A", "1"}, {"B", "2"}};
  inside([&](ws_request* r) {
    std::string seen;
    auto each = +[](void* to, const char* name, const char* value) {
      *static_cast<std::string*>(to) += std::string(name) + "=" + value + ";";
    };
    host.request_headers(r, each, &seen);
    EXPECT_EQ(seen, "A=1;B=2;");
    host.request_headers(r, nullptr, &seen);
    host.request_headers(
        r, +[](void*, const char*, const char*) { throw 42; }, nullptr);
  });
  EXPECT_EQ(hooked.log.all,
            (Events{"error: /here: request_headers() refused: NULL",
                    "error: /here: request_headers() refused: an exception left the function that "
                    "it called"}));
}

TEST_F(HostHandshakeTest, OutsideOfItNothingIsAnswered) {
  ws_request* kept = nullptr;
  inside([&](ws_request* r) { kept = r; });
  request.headers["Cookie"] = "a=b";
  EXPECT_EQ(host.request_fact(kept, WS_PATH).data, nullptr);
  EXPECT_EQ(host.request_header(kept, "Cookie").data, nullptr);
  EXPECT_EQ(host.request_cookie(kept, "a").data, nullptr);
  EXPECT_EQ(host.request_parameter(kept, "a").data, nullptr);
  EXPECT_EQ(host.request_subprotocol(kept, 0).data, nullptr);
  EXPECT_EQ(host.accept_subprotocol(kept, "one"), WS_INVALID);
  EXPECT_EQ(host.add_header(kept, "X", "x"), WS_INVALID);
  EXPECT_EQ(host.set_body(kept, "text/plain", "x", 1), WS_INVALID);
  EXPECT_EQ(host.set_note(kept, "x", 1), WS_INVALID);
  Request other;
  inside([&](ws_request*) {
    EXPECT_EQ(host.set_note(reinterpret_cast<ws_request*>(&other), "x", 1), WS_INVALID);
  });
}

}  // namespace
}  // namespace mws
