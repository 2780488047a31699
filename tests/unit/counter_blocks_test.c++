// Counters in shared memory: who gets which block, and what is left when a process dies.
#include "src/engine/counter_blocks.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <thread>
#include <vector>

namespace mws::test {
namespace {

template <class T = Counters>
class BlocksMemory {
 public:
  explicit BlocksMemory(size_t count)
      : size_(Blocks<T>::bytes_for(count)),
        memory_(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        blocks(memory_, count) {}
  ~BlocksMemory() { munmap(memory_, size_); }

 private:
  size_t size_;
  void* memory_;

 public:
  Blocks<T> blocks;
};

// Opened, open now, and how many blocks have an owner, by number.
struct Seen {
  uint64_t opened = 0, open = 0;
  int owned = 0, blocks = 0;
};
std::map<uint32_t, Seen> seen(const Blocks<Counters>& blocks) {
  std::map<uint32_t, Seen> all;
  blocks.for_each([&](uint32_t number, pid_t owner, const Counters& block) {
    Seen& one = all[number];
    one.opened += block.opened[0].value();
    one.open += block.open[0].value();
    one.owned += owner != 0;
    one.blocks++;
  });
  return all;
}

void open_one(Counters& counters) {
  counters.opened[0].add();
  counters.open[0].add();
}

TEST(CounterBlocks, EachWriterHasItsOwnAndWhatIsLeftGoesToTheNextOfTheSameNumber) {
  BlocksMemory memory(8);
  auto& blocks = memory.blocks;
  Counters *first = blocks.take(0, 100), *second = blocks.take(0, 100),
           *other = blocks.take(7, 100);
  EXPECT_EQ((std::set<Counters*>{first, second, other, nullptr}).size(), 4u);
  open_one(*first);
  open_one(*second);
  open_one(*other);
  blocks.give_back(*second);
  EXPECT_EQ(seen(blocks)[0].opened, 2u);
  EXPECT_EQ(seen(blocks)[0].open, 1u);
  EXPECT_NE(blocks.take(7, 100), second);
  EXPECT_EQ(blocks.take(0, 200), second);
  EXPECT_EQ(second->opened[0].value(), 1u);
  EXPECT_EQ(second->open[0].value(), 0u);
}

TEST(CounterBlocks, OfAProcessThatEndedTheCountersStayAndWhatWasThereGoes) {
  BlocksMemory memory(8);
  auto& blocks = memory.blocks;
  for (uint32_t number : {0, 1, 2}) {
    Counters* dead = blocks.take(number, 100);
    open_one(*dead);
    dead->buffered_bytes.add(5);
    open_one(*blocks.take(number, 200));
  }
  blocks.leave(100);
  for (uint32_t number : {0, 1, 2}) {
    SCOPED_TRACE(number);
    Seen now = seen(blocks)[number];
    EXPECT_EQ(now.opened, 2u);
    EXPECT_EQ(now.open, 1u);
    EXPECT_EQ(now.owned, 1);
  }
  blocks.for_each(
      [](uint32_t, pid_t, const Counters& block) { EXPECT_EQ(block.buffered_bytes.value(), 0u); });
}

TEST(CounterBlocks, NoneIsLeftWhenAllAreInUse) {
  BlocksMemory memory(3);
  auto& blocks = memory.blocks;
  Counters* one = blocks.take(1, 100);
  EXPECT_TRUE(one && blocks.take(1, 100) && blocks.take(2, 100));
  EXPECT_FALSE(blocks.take(1, 100));
  EXPECT_FALSE(blocks.take(3, 100));
  blocks.give_back(*one);
  EXPECT_FALSE(blocks.take(2, 100)) << "the number of a block stays";
  EXPECT_EQ(blocks.take(1, 100), one);
}

TEST(CounterBlocks, ThreadsThatTakeAtOnceGetDifferentOnes) {
  constexpr size_t kThreads = 4, kEach = 200;
  BlocksMemory memory(kThreads * kEach);
  std::vector<std::vector<Counters*>> taken(kThreads);
  std::vector<std::thread> threads;
  for (auto& mine : taken)
    threads.emplace_back([&] {
      for (uint32_t i = 0; i < kEach; i++) mine.push_back(memory.blocks.take(i % 3, 100));
    });
  for (auto& thread : threads) thread.join();
  std::set<Counters*> all;
  for (auto& mine : taken) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), kThreads * kEach);
  EXPECT_FALSE(all.contains(nullptr));
}

// Takes, counts and gives back for ever.
[[noreturn]] void count_until_killed(Blocks<Counters>& blocks) {
  for (uint32_t i = 0;; i++) {
    Counters* block = blocks.take(i % 3, getpid());
    if (!block) _exit(1);
    open_one(*block);
    if (i % 2) blocks.give_back(*block);
    else blocks.leave(getpid());
  }
}

TEST(CounterBlocks, WhoeverIsKilledAtAnyPointHarmsNobody) {
  BlocksMemory memory(3 * 4);
  auto& blocks = memory.blocks;
  std::map<uint32_t, uint64_t> opened;
  for (int round = 0; round < 50; round++) {
    std::vector<pid_t> children;
    for (int i = 0; i < 3; i++) {
      pid_t child = fork();
      ASSERT_GE(child, 0);
      if (!child) count_until_killed(blocks);
      children.push_back(child);
    }
    // Until they have counted something.
    auto all = [&] {
      uint64_t sum = 0;
      for (auto& [number, now] : seen(blocks)) sum += now.opened;
      return sum;
    };
    for (uint64_t before = all(); all() < before + 300;) std::this_thread::yield();
    for (pid_t child : children) {
      int status;
      kill(child, SIGKILL);
      ASSERT_EQ(waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFSIGNALED(status)) << "a child found no block";
      blocks.leave(child);
    }
    for (auto& [number, now] : seen(blocks)) {
      EXPECT_EQ(now.owned, 0);
      EXPECT_EQ(now.open, 0u);
      EXPECT_LE(now.blocks, 4);
      EXPECT_GE(now.opened, opened[number]) << "nothing that was counted gets lost";
      opened[number] = now.opened;
    }
  }
}

TEST(CounterBlocks, AllThatIsCountedIsAddedUpAndWhatIsThereOnlyIfItStillIs) {
  Counters some, sum;
  uint64_t value = 1;
  for (Counter& each : all_counters(some)) each.add(value++);
  add_counters(sum, some, true);
  add_counters(sum, some, false);
  size_t gauges = gauges_of(some).size(), i = 0;
  EXPECT_EQ(gauges, kMoorings + 1);
  for (Counter& each : all_counters(sum)) {
    EXPECT_EQ(each.value(), (i + 1) * (i < gauges ? 1 : 2)) << i;
    i++;
  }
  BlocksMemory<LoopCounters> loops(2);
  LoopCounters* loop = loops.blocks.take(0, 100);
  loop->turn.add(5);
  loops.blocks.leave(100);
  EXPECT_EQ(loops.blocks.take(0, 200), loop);
  EXPECT_EQ(loop->turn.counts[0].value(), 1u);
}

}  // namespace
}  // namespace mws::test
