#include "src/pubsub/redis_url.h"

#include <gtest/gtest.h>

namespace mws {
namespace {

RedisAddress parsed(std::string_view text) {
  auto result = parse_redis_url(text);
  EXPECT_TRUE(result) << text;
  return result ? *result : RedisAddress();
}

TEST(RedisUrl, NamesAHost) {
  RedisAddress plain = parsed("redis://host");
  EXPECT_EQ(plain.host, "host");
  EXPECT_EQ(plain.port, 6379);
  EXPECT_EQ(plain.database, 0u);
  EXPECT_EQ(plain.password, "");
  EXPECT_EQ(plain.prefix, "websocket:");
  EXPECT_EQ(plain.name(), "host:6379");

  RedisAddress full = parsed("redis://me:a%40b%3A%2F%3F@[::1]:7000/12?prefix=my%20chat/");
  EXPECT_EQ(full.host, "::1");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.database, 12u);
  EXPECT_EQ(full.user, "me");
  EXPECT_EQ(full.password, "a@b:/?");
  EXPECT_EQ(full.prefix, "my chat/");
  EXPECT_EQ(full.name(), "[::1]:7000");

  EXPECT_EQ(parsed("redis://:a@b@host").password, "a@b");
  EXPECT_EQ(parsed("redis://:a:b@host").password, "a:b");
  EXPECT_EQ(parsed("redis://host/").database, 0u);
}

TEST(RedisUrl, NamesASocket) {
  RedisAddress plain = parsed("redis+unix:/run/a%3Fb");
  EXPECT_EQ(plain.path, "/run/a?b");
  EXPECT_EQ(plain.host, "");
  EXPECT_EQ(plain.name(), "/run/a?b");
  RedisAddress full = parsed("redis+unix://me:word@/run/socket?db=3&prefix=p");
  EXPECT_EQ(full.path, "/run/socket");
  EXPECT_EQ(full.user, "me");
  EXPECT_EQ(full.password, "word");
  EXPECT_EQ(full.database, 3u);
  EXPECT_EQ(full.prefix, "p");
}

TEST(RedisUrl, SaysWhatIsWrongAndNothingOfWhatWasGiven) {
  for (std::string_view text : {"redis",
                                "redis:",
                                "redis:secret",
                                "redis://",
                                "redis://secret@host",
                                "redis://:@host",
                                "redis://:secret%@host",
                                "redis://:secret%4@host",
                                "redis://:secret%00@host",
                                "redis://:secret@",
                                "redis://:secret@:1",
                                "redis://:secret@host:",
                                "redis://:secret@host:0",
                                "redis://:secret@host:65536",
                                "redis://:secret/@host",
                                "redis://:secret@host/x",
                                "redis://:secret@host/1/2",
                                "redis://:secret@host/-1",
                                "redis://:secret@host?secret",
                                "redis://:secret@host?db=1",
                                "redis://:secret@host?prefix={",
                                "redis://:secret@[::1",
                                "redis://:secret@[::1]x",
                                "rediss://:secret@host",
                                "redis+unix:",
                                "redis+unix:secret",
                                "redis+unix://:secret@",
                                "redis+unix:/secret?db=x",
                                "redis+unix:/secret?password=secret"}) {
    auto result = parse_redis_url(text);
    ASSERT_FALSE(result) << text;
    EXPECT_FALSE(result.reason().empty());
    EXPECT_EQ(result.reason().find("secret"), std::string::npos) << text;
    EXPECT_EQ(result.reason().find('\n'), std::string::npos) << text;
  }
  EXPECT_FALSE(parse_redis_url("redis+unix:/" + std::string(107, 'x')));
  EXPECT_FALSE(parse_redis_url("redis://host?prefix=" + std::string(129, 'x')));
}

}  // namespace
}  // namespace mws
