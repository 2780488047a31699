#include "src/protocol/handshake.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/plain_handshake.h"

namespace mws {
namespace {

OpeningRequest good() {
  OpeningRequest request;
  request.method = "GET";
  request.host = "example.com";
  request.upgrade = "websocket";
  request.connection = "Upgrade";
  request.key = "dGhlIHNhbXBsZSBub25jZQ==";
  request.version = "13";
  return request;
}

// The status of a good request after one change.
template <class Change>
int status_after(Change change) {
  OpeningRequest request = good();
  change(request);
  HandshakeVerdict verdict = judge(request);
  EXPECT_NE(verdict.section, nullptr);
  EXPECT_EQ(std::string(verdict.section).empty(), verdict.status == 101);
  EXPECT_EQ(std::string(verdict.reason).empty(), verdict.status == 101);
  EXPECT_EQ(test::plain_status(request), verdict.status);
  return verdict.status;
}

// The status of a good request with one member set otherwise.
template <class T, class U>
int status_with(T OpeningRequest::*member, U value) {
  return status_after([&](OpeningRequest& request) { request.*member = value; });
}

TEST(Handshake, OfTheStandardsExampleIsAccepted) { EXPECT_EQ(judge(good()).status, 101); }

TEST(Handshake, AsksForAWebSocketIfUpgradeHoldsTheToken) {
  OpeningRequest request = good();
  for (const char* upgrade : {"websocket", "WEBSOCKET", "WebSocket", "h2c, websocket",
                              "websocket,h2c", "a,\tWebsocket ,b"}) {
    request.upgrade = upgrade;
    EXPECT_TRUE(asks_for_websocket(request)) << upgrade;
    EXPECT_EQ(judge(request).status, 101) << upgrade;
  }
  for (const char* upgrade : {"", "h2c", "websockets", "websocket/13", "web socket"}) {
    request.upgrade = upgrade;
    EXPECT_FALSE(asks_for_websocket(request)) << upgrade;
  }
  request.upgrade = std::nullopt;
  EXPECT_FALSE(asks_for_websocket(request));
}

TEST(Handshake, NeedsHttpOnePointOneOrLater) {
  struct {
    int major, minor, status;
  } const cases[] = {{0, 9, 400}, {1, 0, 400}, {1, 1, 101}, {2, 0, 101}, {3, 0, 101}};
  for (auto& c : cases)
    EXPECT_EQ(status_after([&](OpeningRequest& request) {
                request.http_major = c.major;
                request.http_minor = c.minor;
              }),
              c.status)
        << c.major << "." << c.minor;
}

TEST(Handshake, NeedsTheMethodGet) {
  for (const char* method : {"POST", "HEAD", "OPTIONS", "CONNECT", "get", "", "GETS"})
    EXPECT_EQ(status_with(&OpeningRequest::method, method), 400) << method;
}

TEST(Handshake, NeedsAHostHeader) {
  EXPECT_EQ(status_with(&OpeningRequest::host, std::nullopt), 400);
}

TEST(Handshake, HasNoBody) { EXPECT_EQ(status_with(&OpeningRequest::has_body, true), 400); }

TEST(Handshake, NeedsTheConnectionOptionUpgradeOnHttpOne) {
  for (const char* value : {"upgrade", "Upgrade", "keep-alive, Upgrade", "UPGRADE,close"})
    EXPECT_EQ(status_with(&OpeningRequest::connection, value), 101) << value;
  for (const char* value : {"", "keep-alive", "upgrades", "close, keep-alive"})
    EXPECT_EQ(status_with(&OpeningRequest::connection, value), 400) << value;
  EXPECT_EQ(status_with(&OpeningRequest::connection, std::nullopt), 400);
}

TEST(Handshake, OverHttpTwoHasNoConnectionHeader) {
  EXPECT_EQ(status_after([](OpeningRequest& request) {
              request.http_major = 2;
              request.http_minor = 0;
              request.connection = std::nullopt;
              request.over_http2 = true;
            }),
            101);
}

TEST(Handshake, WithAnotherVersionIsToldTheRightOne) {
  for (const char* version :
       {"", "0", "8", "12", "14", "013", "256", "13, 13", "13,8", "13 ", "+13"})
    EXPECT_EQ(status_with(&OpeningRequest::version, version), 426) << version;
  EXPECT_EQ(status_with(&OpeningRequest::version, std::nullopt), 426);
}

// A client of another version may well lack what this version asks for.
TEST(Handshake, WithAnotherVersionIsToldSoBeforeItsKeyIsJudged) {
  EXPECT_EQ(status_after([](OpeningRequest& request) {
              request.version = "14";
              request.key = std::nullopt;
            }),
            426);
}

TEST(Handshake, TakesAnyKeyOf16BytesInBase64) {
  for (const char* key :
       {"AAAAAAAAAAAAAAAAAAAAAA==", "/////////////////////w==", "+++++++++++++++++++++g==",
        "0123456789abcdefghijkg==", "x3JJHMbDL1EzLkh9GBhXDw=="})
    EXPECT_EQ(status_with(&OpeningRequest::key, key), 101) << key;
}

TEST(Handshake, NeedsAKeyOf16BytesInBase64) {
  EXPECT_EQ(status_with(&OpeningRequest::key, std::nullopt), 400);
  for (const char* key : {
           "",
           "==",
           "dGhlIHNhbXBsZSBub25j",       // 15 bytes
           "dGhlIHNhbXBsZSBub25jZWU=",   // 17 bytes
           "dGhlIHNhbXBsZSBub25jZQ",     // without its padding
           "dGhlIHNhbXBsZSBub25jZQ=",    // with half of it
           "dGhlIHNhbXBsZSBub25jZQ===",  // with too much
           "dGhlIHNhbXBsZSBub25jZ===",   // with padding in place of a digit
           "dGhlIHNhbXBsZSBub25jZR==",   // four bits of no byte
           "dGhlIHNh-XBsZSBub25jZQ==",   // the digits of base64url
           "dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ==",
           "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
           " dGhlIHNhbXBsZSBub25jZQ=",
       })
    EXPECT_EQ(status_with(&OpeningRequest::key, key), 400) << key;
}

TEST(Handshake, WithABadCharacterAnywhereInItsKeyIsRefused) {
  const std::string key = "dGhlIHNhbXBsZSBub25jZQ==";
  for (size_t at = 0; at < key.size(); at++)
    for (char c : {'\0', ' ', '-', '_', ',', '\x80', '@', '[', '`', '{', '/', ':'}) {
      if (c == '/' && at < 21) continue;
      std::string bad = key;
      bad[at] = c;
      EXPECT_EQ(status_with(&OpeningRequest::key, std::string_view(bad)), 400) << at << " " << c;
    }
}

// The last digit carries two bits of the 16th byte and four of none, which are zero.
TEST(Handshake, WithBitsOfNoByteInItsKeyIsRefused) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t value = 0; value < 64; value++) {
    std::string key = "dGhlIHNhbXBsZSBub25jZ" + digits.substr(value, 1) + "==";
    EXPECT_EQ(status_with(&OpeningRequest::key, std::string_view(key)), value % 16 == 0 ? 101 : 400)
        << key;
  }
}

TEST(Handshake, OffersSubprotocolsAsAListOfTokens) {
  for (const char* list : {"chat", "chat, superchat", "a,,b", " a ", "v1.json.example"})
    EXPECT_EQ(status_with(&OpeningRequest::subprotocols, list), 101) << list;
  for (const char* list : {"", " ", ",", ", ,\t,", "a b", "a; b", "a, \"b\"", "a\r\nb", "é"})
    EXPECT_EQ(status_with(&OpeningRequest::subprotocols, list), 400) << list;
  EXPECT_EQ(status_with(&OpeningRequest::subprotocols, std::string_view("a\0b", 3)), 400);
}

TEST(Handshake, WithManySubprotocolsOrNoneInALongListIsJudgedInOnePass) {
  std::string empties, many;
  while (empties.size() < 4 << 20) empties += " ,\t", many += "a, ";
  EXPECT_EQ(status_with(&OpeningRequest::subprotocols, std::string_view(empties)), 400);
  EXPECT_EQ(status_with(&OpeningRequest::subprotocols, std::string_view(many)), 101);
}

TEST(Handshake, OfNothingIsRefused) { EXPECT_EQ(judge({}).status, 400); }

}  // namespace
}  // namespace mws
