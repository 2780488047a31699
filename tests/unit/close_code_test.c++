#include "src/protocol/close_code.h"

#include <gtest/gtest.h>

#include <set>

namespace mws {
namespace {

TEST(CloseCode, MayBeSentIfTheStandardOrTheRegistryDefinesItForEndpoints) {
  const std::set<unsigned> defined = {1000, 1001, 1002, 1003, 1007, 1008,
                                      1009, 1010, 1011, 1012, 1013, 1014};
  for (unsigned code = 0; code < 3000; code++)
    EXPECT_EQ(may_be_sent(uint16_t(code)), defined.contains(code)) << code;
}

TEST(CloseCode, MayBeSentInTheRangesForLibrariesAndApplications) {
  for (unsigned code = 3000; code < 5000; code++) EXPECT_TRUE(may_be_sent(uint16_t(code))) << code;
}

TEST(CloseCode, MayNotBeSentFrom5000On) {
  for (unsigned code = 5000; code <= 65535; code++)
    EXPECT_FALSE(may_be_sent(uint16_t(code))) << code;
}

TEST(CloseCode, ThatOnlyDescribesAnEndNeverGoesOnTheWire) {
  EXPECT_FALSE(may_be_sent(kCloseNoCode));
  EXPECT_FALSE(may_be_sent(kCloseAbnormal));
}

TEST(CloseCode, MayArriveIfItMayBeSent) {
  for (unsigned code = 0; code <= 65535; code++)
    EXPECT_EQ(may_arrive(uint16_t(code), false), may_be_sent(uint16_t(code))) << code;
}

TEST(CloseCode, MayArriveWhereItIsReservedIfThatIsAllowed) {
  for (unsigned code = 0; code <= 65535; code++) {
    bool never = code < 1000 || code > 4999 || code == 1005 || code == 1006 || code == 1015;
    EXPECT_EQ(may_arrive(uint16_t(code), true), !never) << code;
  }
}

}  // namespace
}  // namespace mws
