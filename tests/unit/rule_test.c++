#include "src/protocol/rule.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "src/protocol/close_code.h"
#include "src/protocol/utf8.h"

namespace mws {
namespace {

constexpr unsigned kLastRule = unsigned(Rule::close_reason_not_utf8);

TEST(Rule, NoneHasNoCloseCode) {
  EXPECT_EQ(describe(Rule::none).rule, Rule::none);
  EXPECT_EQ(describe(Rule::none).close_code, 0);
  EXPECT_STREQ(describe(Rule::none).message, "");
}

TEST(Rule, EachHasItsOwnEntryWithASectionAndAMessageOfItsOwn) {
  std::set<std::string> messages;
  for (unsigned i = 1; i <= kLastRule; i++) {
    const RuleText& text = describe(Rule(i));
    EXPECT_EQ(text.rule, Rule(i));
    EXPECT_TRUE(std::string("578").find(text.section[0]) != std::string::npos) << text.section;
    EXPECT_STRNE(text.message, "");
    EXPECT_TRUE(messages.insert(text.message).second) << text.message;
  }
}

TEST(Rule, EachCanBeToldToTheClientInACloseFrame) {
  for (unsigned i = 1; i <= kLastRule; i++) {
    const RuleText& text = describe(Rule(i));
    EXPECT_TRUE(may_be_sent(text.close_code)) << text.message;
    EXPECT_LE(std::string(text.message).size(), kMaxCloseReason);
    EXPECT_TRUE(is_utf8(bytes_of(text.message)));
  }
}

TEST(Rule, IsAnsweredByProtocolErrorUnlessItIsAboutSizeOrText) {
  for (unsigned i = 1; i <= kLastRule; i++) {
    Rule rule = Rule(i);
    unsigned expected = rule == Rule::message_too_big                                        ? 1009
                        : rule == Rule::text_not_utf8 || rule == Rule::close_reason_not_utf8 ? 1007
                                                                                             : 1002;
    EXPECT_EQ(describe(rule).close_code, expected) << describe(rule).message;
  }
}

}  // namespace
}  // namespace mws
