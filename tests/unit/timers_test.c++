#include "src/engine/timers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <vector>

namespace mws {
namespace {

struct Called final : Timer {
  int calls = 0;
  std::function<void()> then;
  void on_due() override {
    calls++;
    if (then) then();
  }
};

TEST(Timers, RunCallsWhatIsDueAndNothingElse) {
  Timers timers;
  Called early, now, late;
  timers.set(late, 11);
  timers.set(now, 10);
  timers.set(early, 9);
  EXPECT_EQ(timers.next_due_ms(), 9u);
  timers.run(10);
  EXPECT_EQ(early.calls, 1);
  EXPECT_EQ(now.calls, 1);
  EXPECT_EQ(late.calls, 0);
  EXPECT_FALSE(now.is_set());
  EXPECT_TRUE(late.is_set());
  EXPECT_EQ(timers.next_due_ms(), 11u);
  timers.run(UINT64_MAX - 1);
  EXPECT_EQ(late.calls, 1);
  EXPECT_TRUE(timers.empty());
}

TEST(Timers, AreCalledInTheOrderOfTheirDeadlines) {
  Timers timers;
  std::vector<Called> all(50);
  std::vector<size_t> order;
  for (size_t i = 0; i < all.size(); i++) {
    all[i].then = [&order, i] { order.push_back(i * 37 % 50); };
    timers.set(all[i], i * 37 % 50);
  }
  timers.run(50);
  EXPECT_EQ(order.size(), all.size());
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Timers, SettingOneThatIsSetMovesIt) {
  Timers timers;
  Called timer;
  timers.set(timer, 10);
  timers.set(timer, 20);
  timers.run(10);
  EXPECT_EQ(timer.calls, 0);
  timers.set(timer, 5);
  timers.run(10);
  EXPECT_EQ(timer.calls, 1);
  EXPECT_TRUE(timers.empty());
}

TEST(Timers, CancellingOneThatIsNotSetDoesNothing) {
  Timers timers;
  Called timer, other;
  timers.cancel(timer);
  timers.set(other, 1);
  timers.cancel(timer);
  EXPECT_TRUE(other.is_set());
  timers.cancel(other);
  timers.cancel(other);
  EXPECT_TRUE(timers.empty());
  timers.run(10);
  EXPECT_EQ(other.calls, 0);
}

TEST(Timers, OneThatIsSetForNowInsideARunWaitsForTheNextMillisecond) {
  for (uint64_t due_ms : {0, 9, 10}) {
    Timers timers;
    Called timer, later;
    timer.then = [&] { timers.set(timer, due_ms); };
    timers.set(timer, 10);
    timers.set(later, 100);  // more than one is in the heap
    timers.run(10);
    EXPECT_EQ(timer.calls, 1);
    EXPECT_EQ(timers.next_due_ms(), 11u);
    timers.run(11);
    EXPECT_EQ(timer.calls, 2);
  }
}

TEST(Timers, OutsideOfARunOneCanBeSetForThePast) {
  Timers timers;
  Called timer;
  timers.run(1000);
  timers.set(timer, 0);
  timers.run(1000);
  EXPECT_EQ(timer.calls, 1);
}

TEST(Timers, OneThatIsCancelledByAnotherInTheSameRunIsNotCalled) {
  Timers timers;
  Called first, second;
  first.then = [&] { timers.cancel(second); };
  timers.set(first, 1);
  timers.set(second, 2);
  timers.run(5);
  EXPECT_EQ(second.calls, 0);
  EXPECT_TRUE(timers.empty());
}

TEST(Timers, OneThatIsPutOffByAnotherInTheSameRunIsCalledLater) {
  Timers timers;
  Called first, second;
  first.then = [&] { timers.set(second, 9); };
  timers.set(first, 1);
  timers.set(second, 2);
  timers.run(5);
  EXPECT_EQ(second.calls, 0);
  timers.run(9);
  EXPECT_EQ(second.calls, 1);
}

// Against a model that looks at everything every time.
class Model {
 public:
  explicit Model(unsigned seed) : random_(seed), all_(40) {
    for (Called& each : all_) each.then = [this, &each] { called(each); };
  }

  void step() {
    Called& timer = all_[below(all_.size())];
    switch (below(8)) {
      case 0: cancel(timer); break;
      case 1:
      case 2: run(); break;
      default: set(timer); break;
    }
    check();
  }

 private:
  size_t below(size_t n) { return random_() % n; }

  void set(Called& timer) {
    uint64_t due_ms = now_ms_ + below(30) - std::min<uint64_t>(now_ms_, 10);
    timers_.set(timer, due_ms);
    due_[&timer] = running_ ? std::max(due_ms, now_ms_ + 1) : due_ms;
  }

  void cancel(Called& timer) {
    timers_.cancel(timer);
    due_.erase(&timer);
  }

  void run() {
    now_ms_ += below(12);
    running_ = true;
    timers_.run(now_ms_);
    running_ = false;
    for (auto& [timer, due_ms] : due_) EXPECT_GT(due_ms, now_ms_);
  }

  void called(Called& timer) {
    EXPECT_FALSE(timer.is_set());
    ASSERT_TRUE(due_.contains(&timer));
    EXPECT_LE(due_[&timer], now_ms_);
    EXPECT_EQ(due_[&timer], first_due_ms());
    due_.erase(&timer);
    for (size_t more = below(3); more--;) {
      Called& other = all_[below(all_.size())];
      below(3) ? set(other) : cancel(other);
    }
    if (!below(4)) set(timer);
    check();
  }

  uint64_t first_due_ms() const {
    uint64_t first = UINT64_MAX;
    for (auto& [timer, due_ms] : due_) first = std::min(first, due_ms);
    return first;
  }

  void check() const {
    ASSERT_EQ(timers_.empty(), due_.empty());
    if (!due_.empty()) {
      ASSERT_EQ(timers_.next_due_ms(), first_due_ms());
    }
    for (const Called& each : all_)
      ASSERT_EQ(each.is_set(), due_.contains(const_cast<Called*>(&each)));
  }

  std::mt19937 random_;
  Timers timers_;
  std::vector<Called> all_;
  std::map<Called*, uint64_t> due_;
  uint64_t now_ms_ = 100;
  bool running_ = false;
};

TEST(Timers, AgreeWithANaiveModelWhateverIsSetMovedAndCancelled) {
  for (unsigned seed = 1; seed <= 20; seed++) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (int i = 0; i < 2000 && !testing::Test::HasFailure(); i++) model.step();
  }
}

}  // namespace
}  // namespace mws
