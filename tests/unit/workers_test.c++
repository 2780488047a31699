// The order of a connection's events on workers, and that nothing of them is lost. Threads wait for
// each other by latches.
#include "src/handler/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <stdexcept>
#include <string>

namespace mws {
namespace {

using Kind = Strand::Kind;

// A strand that writes down what it runs.
struct Line {
  explicit Line(Workers& workers)
      : strand(std::make_shared<Strand>(
            workers, [this] { resumed++; },
            [this] {
              note("end");
              ended.count_down();
            })) {}
  void note(const std::string& what) {
    std::lock_guard hold(lock);
    ran.push_back(what);
  }
  bool add(Kind kind, const std::string& what, size_t bytes = 0) {
    return strand->add(kind, bytes, [this, what] { note(what); });
  }
  // Runs nothing until the latch is open.
  void block(std::latch& until) {
    auto begun = std::make_shared<std::latch>(1);
    strand->add(Kind::notice, 0, [begun, &until] {
      begun->count_down();
      until.wait();
    });
    begun->wait();
  }

  std::mutex lock;
  std::vector<std::string> ran;
  std::latch ended{1};
  std::atomic<int> resumed = 0;
  std::shared_ptr<Strand> strand;
};

TEST(WorkersTest, RunTheEventsOfAStrandInOrderAndItsEndLastAndOnce) {
  Workers workers(4);
  workers.start();
  Line line(workers);
  std::latch go(1);
  line.block(go);
  std::vector<std::string> expected;
  for (int i = 0; i < 40; i++) {
    expected.push_back(std::to_string(i));
    line.add(i % 3 ? Kind::input : Kind::notice, expected.back());
  }
  struct Held final : Counted {
    explicit Held(bool& here) : is_gone(here) {}
    ~Held() override { is_gone = true; }
    bool& is_gone;
  };
  bool is_gone = false;
  line.strand->end(make_ref<Held>(is_gone));
  EXPECT_TRUE(line.add(Kind::input, "behind the end"));
  EXPECT_FALSE(is_gone);
  go.count_down();
  line.ended.wait();
  ASSERT_TRUE(workers.finish(600'000));
  expected.push_back("end");
  EXPECT_EQ(line.ran, expected);
  EXPECT_TRUE(is_gone);
}

TEST(WorkersTest, RunDifferentStrandsAtTheSameTime) {
  Workers workers(3);
  workers.start();
  Line one(workers), two(workers), three(workers);
  std::latch all(3);
  for (Line* each : {&one, &two, &three})
    each->strand->add(Kind::input, 0, [&] { all.arrive_and_wait(); });
  all.wait();
  EXPECT_TRUE(workers.finish(600'000));
}

TEST(WorkersTest, FewerThanStrandsServeThemAllAndOneStrandKeepsNoThreadForItself) {
  Workers workers(1);
  workers.start();
  std::latch go(1);
  std::deque<Line> lines;
  for (int i = 0; i < 20; i++) lines.emplace_back(workers);
  lines[0].block(go);
  std::vector<int> order;
  for (int round = 0; round < 3; round++)
    for (int i = 1; i < 20; i++)
      lines[size_t(i)].strand->add(Kind::input, 0, [&order, i] { order.push_back(i); });
  go.count_down();
  ASSERT_TRUE(workers.finish(600'000));
  ASSERT_EQ(order.size(), 57u);
  for (int i = 0; i < 57; i++) EXPECT_EQ(order[size_t(i)], i % 19 + 1);
}

TEST(WorkersTest, AreFullWith64EventsOr64KiBUntilHalfOfThemHasRun) {
  for (bool many : {true, false}) {
    Workers workers(1);
    workers.start();
    Line line(workers);
    std::latch go(1);
    line.block(go);
    size_t events = many ? Strand::kEvents : 4;
    size_t bytes = many ? 1 : Strand::kBytes / 4;
    for (size_t i = 1; i < events; i++) EXPECT_TRUE(line.add(Kind::input, "early", bytes)) << i;
    EXPECT_FALSE(line.add(Kind::input, "full", bytes));
    EXPECT_FALSE(line.add(Kind::input, "fuller", bytes));
    EXPECT_EQ(line.resumed, 0);
    std::atomic<int> resumed_before_half = -1;
    line.strand->add(Kind::notice, 0, [&] { resumed_before_half = line.resumed.load(); });
    go.count_down();
    ASSERT_TRUE(workers.finish(600'000));
    EXPECT_EQ(line.resumed, 1);
    EXPECT_EQ(resumed_before_half, 1) << "half had run long before the last";
    EXPECT_TRUE(std::make_shared<Line>(workers)->strand);
  }
}

TEST(WorkersTest, APausedStrandRunsNoInputButAllElseAndGoesOnWhereItWas) {
  Workers workers(1);
  workers.start();
  Line line(workers);
  std::latch go(1);
  line.block(go);
  auto& strand = *line.strand;
  strand.add(Kind::input, 0, [&] {
    line.note("pauses");
    strand.pause();
  });
  line.add(Kind::input, "one");
  line.add(Kind::notice, "notice");
  line.add(Kind::input, "two");
  strand.add(Kind::notice, 0, [&] {
    line.note("resumes");
    strand.resume();
  });
  line.add(Kind::input, "three");
  go.count_down();
  ASSERT_TRUE(workers.finish(600'000));
  EXPECT_EQ(line.ran,
            (std::vector<std::string>{"pauses", "notice", "resumes", "one", "two", "three"}));
}

TEST(WorkersTest, ThePausedStrandEndsWithoutItsInput) {
  Workers workers(1);
  workers.start();
  Line line(workers);
  auto of_input = std::make_shared<int>();
  std::weak_ptr<int> watched = of_input;
  std::latch paused(1);
  line.strand->add(Kind::input, 0, [&] {
    line.strand->pause();
    paused.count_down();
  });
  line.strand->add(Kind::input, 0, [of_input = std::move(of_input)] { ADD_FAILURE(); });
  paused.wait();
  line.strand->end(nullptr);
  line.ended.wait();
  ASSERT_TRUE(workers.finish(600'000));
  EXPECT_EQ(line.ran, (std::vector<std::string>{"end"}));
  EXPECT_TRUE(watched.expired());
}

TEST(WorkersTest, FinishWaitsForWhatRunsAndForWhatItSchedules) {
  Workers workers(2);
  workers.start();
  Line one(workers), two(workers);
  std::latch go(1);
  one.block(go);
  one.strand->add(Kind::notice, 0, [&] { two.add(Kind::input, "of the other"); });
  auto finished = std::async(std::launch::async, [&] { return workers.finish(600'000); });
  go.count_down();
  EXPECT_TRUE(finished.get());
  EXPECT_EQ(two.ran, (std::vector<std::string>{"of the other"}));
}

// --- Of a loop ---

// Runs the task in one turn of a loop.
void in_a_turn(Loop& loop, std::function<void()> task) {
  loop.any_thread_post(std::move(task));
  loop.any_thread_quit();
  loop.run();
}

TEST(WorkersTest, HearOfWhatALoopBringsWhenItsTurnEnds) {
  Workers workers(1);
  workers.start();
  Line line(workers);
  std::promise<void> ran;
  Loop loop(4096);
  in_a_turn(loop, [&] {
    line.strand->add(
        Kind::input, 0, [&] { ran.set_value(); }, &loop);
  });
  EXPECT_EQ(ran.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

TEST(WorkersTest, HearOfManyThatALoopBringsWhileItsTurnGoesOn) {
  Workers workers(1);
  workers.start();
  std::deque<Line> lines;
  for (size_t i = 0; i < Workers::kAtOnce; i++) lines.emplace_back(workers);
  std::promise<void> ran;
  Loop loop(4096);
  in_a_turn(loop, [&] {
    for (Line& each : lines)
      each.strand->add(
          Kind::input, 0,
          [&] {
            if (&each == &lines.back()) ran.set_value();
          },
          &loop);
    EXPECT_EQ(ran.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
  });
}

TEST(WorkersTest, FinishDoesNotWaitForACallThatDoesNotReturn) {
  Workers workers(2);
  workers.start();
  Line line(workers);
  std::latch go(1);
  line.block(go);
  EXPECT_FALSE(workers.finish(1));
  go.count_down();
  EXPECT_TRUE(workers.finish(600'000));
}

TEST(WorkersTest, OnceFinishedRunNothingAndAreDestroyedQuietly) {
  Line* line;
  {
    Workers workers(2);
    workers.start();
    line = new Line(workers);
    ASSERT_TRUE(workers.finish(600'000));
    line->add(Kind::input, "late");
    line->strand->end(nullptr);
    EXPECT_TRUE(workers.finish(0));
  }
  EXPECT_TRUE(line->ran.empty());
  delete line;
}

TEST(WorkersTest, ThatNeverStartedFinishAtOnce) {
  Workers workers(2);
  EXPECT_TRUE(workers.finish(0));
}

TEST(WorkersTest, WhereThereIsNoMemoryToResumeWaitForSome) {
  Workers workers(1);
  workers.start();
  std::atomic<int> tries = 0;
  auto strand = std::make_shared<Strand>(
      workers,
      [&] {
        if (++tries < 3) throw std::bad_alloc();
      },
      [] {});
  EXPECT_FALSE(strand->add(Kind::input, Strand::kBytes, [] {}));
  ASSERT_TRUE(workers.finish(600'000));
  EXPECT_EQ(tries, 3);
}

}  // namespace
}  // namespace mws
