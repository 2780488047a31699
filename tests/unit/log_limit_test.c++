#include "src/base/log_limit.h"

#include <gtest/gtest.h>

namespace mws {
namespace {

TEST(LogLimitTest, AllowsSoManyLinesUntilTheTimeIsOverAndThenSaysHowManyWereLeftOut) {
  LogLimit limit(3, 50);
  std::string left_out;
  for (int turn = 0; turn < 2; turn++) {
    int allowed = 0, refused = 0;
    while (limit.allows(left_out) && left_out.empty()) allowed++;
    while (left_out.empty() && !limit.allows(left_out)) refused++;
    // And one by the first loop.
    EXPECT_EQ(left_out, " (" + std::to_string(refused + 1) + " lines were left out before)");
    EXPECT_GE(allowed, turn ? 2 : 3);
    left_out.clear();
  }
}

}  // namespace
}  // namespace mws
