#include "src/protocol/header_list.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/plain_header.h"

namespace mws {
namespace {

TEST(Token, IsMadeOfTheCharactersOfRfc7230) {
  const std::string allowed =
      "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  for (unsigned c = 0; c < 256; c++)
    EXPECT_EQ(is_token(std::string(1, char(c))), allowed.find(char(c)) != std::string::npos) << c;
}

TEST(Token, HasAtLeastOneCharacterAndNoBadOneAnywhere) {
  EXPECT_FALSE(is_token(""));
  EXPECT_TRUE(is_token("permessage-deflate"));
  for (std::string_view bad :
       {" a", "a ", "a b", "a,b", "a;b", "a=b", "\"a\"", "a/b", "é", "a\r\n"})
    EXPECT_FALSE(is_token(bad)) << bad;
  EXPECT_FALSE(is_token(std::string_view("a\0b", 3)));
}

TEST(EqualIgnoringCase, FoldsAsciiLettersOnly) {
  EXPECT_TRUE(equal_ignoring_case("WebSocket", "wEBsOCKET"));
  EXPECT_TRUE(equal_ignoring_case("", ""));
  EXPECT_FALSE(equal_ignoring_case("websocket", "websockets"));
  EXPECT_FALSE(equal_ignoring_case("a", ""));
  EXPECT_FALSE(equal_ignoring_case("[", "{"));
  EXPECT_FALSE(equal_ignoring_case("@", "`"));
  EXPECT_FALSE(equal_ignoring_case("\xc9", "\xe9"));
}

TEST(ListHolds, FindsATokenInAnyPlaceAndCase) {
  for (std::string_view list : {"upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive",
                                "a,\t upgrade\t ,b", ",,upgrade", " upgrade "})
    EXPECT_TRUE(list_holds(list, "upgrade")) << list;
}

TEST(ListHolds, FindsWholeTokensOnly) {
  for (std::string_view list : {"", ",", "upgrades", "no-upgrade", "up grade", "keep-alive, close",
                                "upgrade/1", "\"upgrade\""})
    EXPECT_FALSE(list_holds(list, "upgrade")) << list;
}

using Tokens = std::vector<std::string_view>;

TEST(SplitTokens, KeepsTheOrderAndLeavesEmptyElementsOut) {
  EXPECT_EQ(split_tokens("chat"), Tokens{"chat"});
  EXPECT_EQ(split_tokens("b, a,b ,\tc"), (Tokens{"b", "a", "b", "c"}));
  EXPECT_EQ(split_tokens(",, a,,b, "), (Tokens{"a", "b"}));
  EXPECT_EQ(split_tokens(""), Tokens{});
  EXPECT_EQ(split_tokens(" ,\t, "), Tokens{});
}

TEST(SplitTokens, HasNothingIfAnyElementIsNoToken) {
  for (std::string_view list :
       {"a b", "a, b c", "a;q=1", "a, \"b\"", "a\r\nb", "é", "a,b/c", "(a)"})
    EXPECT_EQ(split_tokens(list), std::nullopt) << list;
  EXPECT_EQ(split_tokens(std::string_view("a\0", 2)), std::nullopt);
}

// ---- Extension offers ---------------------------------------------------------------------------

// What the offers say, after checking that the plain reader reads the same.
std::string offers_in(std::string_view header) {
  std::string out = test::offers_text(parse_extension_offers(header));
  if (header.size() < 1000) {
    EXPECT_EQ(out, test::offers_text(test::plain_offers(std::string(header)))) << header;
  }
  return out;
}

struct OfferCase {
  std::string_view header, offers;
};

TEST(ExtensionOffers, AreReadInTheirOrderWithTheirParameters) {
  for (auto [header, offers] : std::initializer_list<OfferCase>{
           {"permessage-deflate", "permessage-deflate"},
           {"permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits"},
           {"a; b=1; c=2, d; e", "a; b=1; c=2 | d; e"},
           {"a;b=1,c", "a; b=1 | c"},
           {" a\t;\tb = 1 , c ", "a; b=1 | c"},
           {"a, a; b, a; b=1", "a | a; b | a; b=1"},
           {"a; b; b=1; b", "a; b; b=1; b"},
           {"constructor", "constructor"},
           {"A; B=C", "A; B=C"},
       })
    EXPECT_EQ(offers_in(header), offers) << header;
}

TEST(ExtensionOffers, MayQuoteAValueThatIsAToken) {
  for (auto [header, offers] : std::initializer_list<OfferCase>{
           {R"(a; b="10")", "a; b=10"},
           {R"(a; b="10"; c, d)", "a; b=10; c | d"},
           {R"(a; b="\1\0")", "a; b=10"},
           {R"(a; b="x\y", c)", "a; b=xy | c"},
           {R"(a; b= "10" , c)", "a; b=10 | c"},
       })
    EXPECT_EQ(offers_in(header), offers) << header;
}

TEST(ExtensionOffers, WithAQuotedValueThatIsNoTokenAreLeftOut) {
  for (auto [header, offers] : std::initializer_list<OfferCase>{
           {R"(a; b="", c)", "c"},
           {R"(a; b="1 0", c)", "c"},
           {R"(a; b="1,0", c)", "c"},
           {R"(a; b="1;0", c)", "c"},
           {R"(a; b="1\"0", c)", "c"},
           {R"(a; b="1\\0", c)", "c"},
           {R"(a; b="10"x, c)", "c"},
           {R"(a; b=1"0", c)", "c"},
           {R"(a; b="1""0", c)", "c"},
       })
    EXPECT_EQ(offers_in(header), offers) << header;
}

TEST(ExtensionOffers, ThatAreMalformedAreLeftOutAndThoseBehindThemRead) {
  for (auto [header, offers] : std::initializer_list<OfferCase>{
           {"", ""},
           {" ", ""},
           {",", ""},
           {",;", ""},
           {",a,,b,", "a | b"},
           {"permessage-deflate;;, a", "a"},
           {"permessage-deflate;, a", "a"},
           {";b, a", "a"},
           {"a b, c", "c"},
           {"a; b c, d", "d"},
           {"a; b=, c", "c"},
           {"a; =1, c", "c"},
           {"a; b==1, c", "c"},
           {"a=1, c", "c"},
           {"a/b, c", "c"},
           {"\"a\", c", "c"},
           {"a; \"b,c\"=1, d", "d"},
           {"a; b c\"d,e\", f", "f"},
           {R"(a "b\", c", d)", "d"},
           {R"(a "b\\", c)", "c"},
           {"\xc3\xa9, c", "c"},
       })
    EXPECT_EQ(offers_in(header), offers) << header;
  EXPECT_EQ(offers_in(std::string_view("a\0, b", 5)), "b");
}

TEST(ExtensionOffers, EndWithAQuoteThatIsNeverClosed) {
  for (std::string_view header : {R"(x, a; b=")", R"(x, a; b="10, c)", R"(x, a; b="10\)",
                                  R"(x, a; b="\", c)", R"(x, a "b, c, d)"})
    EXPECT_EQ(offers_in(header), "x") << header;
}

// Headers on which a reader that goes back would take days; the sizes are those of httpd's limits
// and then a thousand times more.
TEST(ExtensionOffers, AreReadInOnePassHoweverHostile) {
  for (size_t size : {8 * 1024, 4 * 1024 * 1024}) {
    auto repeated = [&](std::string_view piece) {
      std::string out;
      while (out.size() < size) out += piece;
      return out;
    };
    EXPECT_EQ(offers_in("a; b=\"" + repeated("\\c")), "");
    EXPECT_EQ(offers_in("a; b=\"" + repeated(",c")), "");
    EXPECT_EQ(offers_in("a; b=" + repeated("\"")), "");
    EXPECT_EQ(offers_in("a \"" + repeated("\\\"")), "");
    EXPECT_EQ(offers_in(repeated(" ,\t")), "");
    EXPECT_EQ(offers_in(repeated(";")), "");
    EXPECT_EQ(offers_in(repeated("a;b=\"c\" d,") + "x"), "x");
    EXPECT_EQ(offers_in("a" + repeated(" ")), "a");
    EXPECT_EQ(split_tokens(repeated(" ,\t")), Tokens{});
    EXPECT_EQ(split_tokens(repeated(" ") + "a"), Tokens{"a"});
    EXPECT_FALSE(list_holds(repeated("upgrad,"), "upgrade"));
  }
}

}  // namespace
}  // namespace mws
