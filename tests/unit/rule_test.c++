#include "src/protocol/rule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "src/protocol/close_code.h"
#include "src/protocol/utf8.h"

namespace mws {
namespace {

constexpr unsigned kLastRule = unsigned(Rule::deflate_corrupt);

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
    EXPECT_TRUE(text.rfc == 6455 || text.rfc == 7692) << text.rfc;
    EXPECT_TRUE(isdigit(text.section[0])) << text.section;
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

TEST(Rule, IsAnsweredByProtocolErrorUnlessItIsAboutSizeOrContent) {
  const std::map<Rule, unsigned> others = {{Rule::message_too_big, 1009},
                                           {Rule::too_many_fragments, 1008},
                                           {Rule::text_not_utf8, 1007},
                                           {Rule::close_reason_not_utf8, 1007},
                                           {Rule::deflate_corrupt, 1007}};
  for (unsigned i = 1; i <= kLastRule; i++) {
    auto other = others.find(Rule(i));
    EXPECT_EQ(describe(Rule(i)).close_code, other == others.end() ? 1002 : other->second)
        << describe(Rule(i)).message;
  }
}

}  // namespace
}  // namespace mws
