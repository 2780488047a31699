#include "src/pubsub/await_answer.h"

#include <gtest/gtest.h>

#include <functional>
#include <new>
#include <thread>

namespace mws {
namespace {

using namespace std::chrono_literals;
using Answered = std::function<void(const int&)>;

TEST(AwaitAnswer, TakesOneThatComesInsideOfTheCall) {
  EXPECT_EQ(await_answer<int>(0ms, [](auto answered) { answered(1); }), 1);
}

TEST(AwaitAnswer, WaitsForOneFromAnotherThread) {
  std::thread other;
  auto answer = await_answer<int>(
      1h, [&](Answered answered) { other = std::thread([answered] { answered(2); }); });
  EXPECT_EQ(answer, 2);
  other.join();
}

TEST(AwaitAnswer, GivesUpAndTheAnswerMayStillCome) {
  Answered late;
  EXPECT_EQ(await_answer<int>(1ms, [&](Answered answered) { late = answered; }), std::nullopt);
  late(3);
}

TEST(AwaitAnswer, GivesUpIfTheCallIsForgotten) {
  EXPECT_EQ(await_answer<int>(1ms, [](const Answered&) {}), std::nullopt);
}

TEST(AwaitAnswer, LetsWhatIsThrownPass) {
  EXPECT_THROW(await_answer<int>(1h, [](const Answered&) { throw std::bad_alloc(); }),
               std::bad_alloc);
}

}  // namespace
}  // namespace mws
