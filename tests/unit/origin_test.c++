#include "src/protocol/origin.h"

#include <gtest/gtest.h>

#include "tests/unit/plain_handshake.h"

namespace mws {
namespace {

struct OriginCase {
  const char* text;
  Origin expected;
};

TEST(Origin, IsReadWithItsPortOrItsSchemesDefault) {
  for (const OriginCase& c : std::initializer_list<OriginCase>{
           {"http://example.com", {"http", "example.com", 80}},
           {"https://example.com", {"https", "example.com", 443}},
           {"http://example.com:80", {"http", "example.com", 80}},
           {"https://example.com:80", {"https", "example.com", 80}},
           {"http://example.com:8080", {"http", "example.com", 8080}},
           {"http://example.com:65535", {"http", "example.com", 65535}},
           {"HTTP://EXAMPLE.Com", {"http", "example.com", 80}},
           {"http://localhost", {"http", "localhost", 80}},
           {"http://127.0.0.1:3000", {"http", "127.0.0.1", 3000}},
           {"http://a_b.xn--bcher-kva.example", {"http", "a_b.xn--bcher-kva.example", 80}},
           {"http://[::1]", {"http", "[::1]", 80}},
           {"https://[2001:DB8::1]:8443", {"https", "[2001:db8::1]", 8443}},
           {"http://[::ffff:1.2.3.4]:81", {"http", "[::ffff:1.2.3.4]", 81}},
           {"moz-extension://abc-def", {"moz-extension", "abc-def", 0}},
       })
    for (auto read : {parse_origin(c.text), test::plain_origin(c.text)})
      EXPECT_EQ(read, c.expected) << c.text;
}

TEST(Origin, IsNothingElse) {
  for (const char* text : {"",
                           "null",
                           "example.com",
                           "://example.com",
                           "http:",
                           "http:/example.com",
                           "http://",
                           "http:///",
                           "http://example.com/",
                           "http://example.com/path",
                           "http://example.com?query",
                           "http://example.com#fragment",
                           "http://user@example.com",
                           "http://user:word@example.com",
                           "http://example.com:80@evil.com",
                           "http://good.com, http://evil.com",
                           "http://good.com,http://evil.com",
                           "http://good.com http://evil.com",
                           " http://example.com",
                           "http://example.com ",
                           "ht tp://example.com",
                           "http://example.com:",
                           "http://example.com:0",
                           "http://example.com:65536",
                           "http://example.com:-1",
                           "http://example.com:+80",
                           "http://example.com: 80",
                           "http://example.com:80x",
                           "http://example.com:80:80",
                           "http://exa%6dple.com",
                           "http://exam\xc3\xa9.com",
                           "http://*.example.com",
                           "http://[]",
                           "http://[::1",
                           "http://::1",
                           "http://[::1]x",
                           "http://[::1]x:80",
                           "http://[::1]]",
                           "http://[[::1]]",
                           "http://[::1%25eth0]",
                           "http://[example.com]",
                           "http://http://example.com"})
    for (auto read : {parse_origin(text), test::plain_origin(text)})
      EXPECT_EQ(read, std::nullopt) << text;
}

TEST(Origin, OfAHostHeaderTakesTheSchemeOfTheConnection) {
  EXPECT_EQ(origin_of_host("http", "Example.com"), (Origin{"http", "example.com", 80}));
  EXPECT_EQ(origin_of_host("https", "example.com"), (Origin{"https", "example.com", 443}));
  EXPECT_EQ(origin_of_host("https", "example.com:443"), (Origin{"https", "example.com", 443}));
  EXPECT_EQ(origin_of_host("http", "[::1]:8080"), (Origin{"http", "[::1]", 8080}));
  for (const char* host : {"", ":80", "a b", "a/b", "user@host", "host:", "host:x", "[::1"})
    EXPECT_EQ(origin_of_host("http", host), std::nullopt) << host;
}

// ---- Policies -----------------------------------------------------------------------------------

OriginPolicy policy_of(std::initializer_list<const char*> allowed) {
  OriginPolicy policy;
  for (const char* text : allowed) EXPECT_TRUE(policy.allow(text)) << text;
  return policy;
}

void expect_allowed(const OriginPolicy& policy, std::initializer_list<const char*> origins) {
  for (const char* text : origins)
    EXPECT_TRUE(policy.allows(text, Origin{"https", "example.com", 443})) << text;
}

void expect_refused(const OriginPolicy& policy, std::initializer_list<const char*> origins) {
  for (const char* text : origins)
    EXPECT_FALSE(policy.allows(text, Origin{"https", "example.com", 443})) << text;
}

TEST(OriginPolicy, LetsThoseInThatAreNoBrowser) {
  EXPECT_TRUE(policy_of({}).allows(std::nullopt, std::nullopt));
  EXPECT_TRUE(policy_of({"same"}).allows(std::nullopt, Origin{"http", "example.com", 80}));
}

TEST(OriginPolicy, OfNothingLetsNoBrowserIn) {
  expect_refused(policy_of({}), {"https://example.com", "null", "", "garbage"});
}

TEST(OriginPolicy, OfSameComparesSchemeHostAndPortExactly) {
  OriginPolicy policy = policy_of({"same"});
  expect_allowed(policy, {"https://example.com", "https://example.com:443", "HTTPS://EXAMPLE.COM"});
  expect_refused(
      policy,
      {"null", "", "http://example.com", "https://example.com:8443", "https://example.com:80",
       "http://example.com:443", "https://example.com.evil.com", "https://evilexample.com",
       "https://evil.com", "https://www.example.com", "https://example.com.", "https://example.co",
       "https://example.comm", "https://example.com, https://example.com", "https://example.com/",
       "https://example.com@evil.com", "wss://example.com"});
}

TEST(OriginPolicy, OfSameKnowsIPv6) {
  OriginPolicy policy = policy_of({"same"});
  Origin own = *origin_of_host("http", "[::1]:8080");
  EXPECT_TRUE(policy.allows("http://[::1]:8080", own));
  EXPECT_FALSE(policy.allows("http://[::1]", own));
  EXPECT_FALSE(policy.allows("http://[::2]:8080", own));
}

TEST(OriginPolicy, OfSameLetsNoOneInWhereTheOwnAddressIsUnknown) {
  EXPECT_FALSE(policy_of({"same"}).allows("https://example.com", std::nullopt));
}

TEST(OriginPolicy, OfAnyLetsEverythingIn) {
  expect_allowed(policy_of({"any"}), {"null", "http://evil.com", "garbage", ""});
  expect_allowed(policy_of({"ANY"}), {"http://evil.com"});
}

TEST(OriginPolicy, OfNullLetsOnlyNullIn) {
  expect_allowed(policy_of({"null"}), {"null"});
  expect_refused(policy_of({"null"}), {"http://null", "https://example.com", "NULL", "null "});
  expect_refused(policy_of({"same", "example.com", "*.com"}), {"null"});
}

TEST(OriginPolicy, OfAHostLetsInItsTwoDefaultPorts) {
  OriginPolicy policy = policy_of({"Other.example"});
  expect_allowed(policy, {"http://other.example", "https://other.example",
                          "http://OTHER.example:80", "https://other.example:443"});
  expect_refused(
      policy, {"http://other.example:443", "https://other.example:80", "http://other.example:8080",
               "http://a.other.example", "http://other.example.evil.com",
               "http://evilother.example", "app://other.example", "null"});
}

TEST(OriginPolicy, OfAHostAndPortLetsInThatPort) {
  OriginPolicy policy = policy_of({"localhost:3000", "[::1]:3000"});
  expect_allowed(policy, {"http://localhost:3000", "https://localhost:3000", "http://[::1]:3000"});
  expect_refused(policy, {"http://localhost", "http://localhost:3001", "https://localhost:443",
                          "http://[::1]", "http://[::2]:3000", "app://localhost:3000"});
}

TEST(OriginPolicy, OfAnOriginLetsInThatOrigin) {
  OriginPolicy policy = policy_of({"HTTPS://Other.example", "http://third.example:8080",
                                   "http://fourth.example:80", "moz-extension://abc-def"});
  expect_allowed(policy,
                 {"https://other.example", "https://other.example:443", "http://third.example:8080",
                  "http://fourth.example", "moz-extension://abc-def"});
  expect_refused(policy, {"http://other.example", "https://other.example:8443",
                          "https://third.example:8080", "http://third.example",
                          "https://fourth.example", "moz-extension://abc", "http://abc-def"});
}

TEST(OriginPolicy, OfAWildcardLetsInTheNamesBelow) {
  OriginPolicy policy = policy_of({"*.Example.org", "https://*.example.net:8443"});
  expect_allowed(policy, {"https://a.example.org", "http://a.b.example.org",
                          "https://A.EXAMPLE.org", "https://a.example.net:8443"});
  expect_refused(policy, {"https://example.org", "https://evilexample.org", "https://.example.org",
                          "https://a.example.org.evil.com", "https://a.example.org:8443",
                          "https://*.example.org", "http://a.example.net:8443",
                          "https://a.example.net", "https://example.net:8443"});
}

TEST(OriginPolicy, LetsInWhatAnyOfItsEntriesAllows) {
  OriginPolicy policy = policy_of({"same", "null", "other.example", "*.example.org"});
  expect_allowed(policy,
                 {"https://example.com", "null", "http://other.example", "http://a.example.org"});
  expect_refused(policy, {"http://example.com", "http://evil.com"});
}

TEST(OriginPolicy, IsNotMadeOfAnythingElse) {
  for (const char* text : {"",
                           "*",
                           "*.",
                           "*.*.com",
                           "*example.com",
                           "a.*.com",
                           "http://",
                           "http://*",
                           "://host",
                           "host:",
                           "host:0",
                           "host:65536",
                           "host:x",
                           "host/path",
                           "http://host/",
                           "user@host",
                           "[::1",
                           "a b",
                           "a,b",
                           " host",
                           "http:/host",
                           "http://a,http://b"}) {
    OriginPolicy policy;
    EXPECT_FALSE(policy.allow(text)) << text;
    EXPECT_FALSE(test::plain_rule(text)) << text;
    EXPECT_FALSE(policy.allows("http://host", Origin{"https", "example.com", 443})) << text;
  }
}

}  // namespace
}  // namespace mws
