#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/unit/open_counts_support.h"

namespace mws::test {
namespace {

using Answer = OpenCounts::Answer;

TEST(Network, IPv4CountsAlikeInBothForms) {
  const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
  EXPECT_EQ(Network::of_v6(mapped), Network::of_v4(0xc0000201));
}

TEST(Network, IPv6CountsByItsFirst64Bits) {
  uint8_t address[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8};
  Network first = Network::of_v6(address);
  EXPECT_EQ(first, (Network{Network::v6, 0x20010db800000007}));
  address[8] = 0xff;
  EXPECT_EQ(Network::of_v6(address), first);
  address[7] = 8;
  EXPECT_NE(Network::of_v6(address), first);
}

TEST(Network, IPv6WithTheBitsOfAnIPv4AddressIsAnother) {
  const uint8_t low[16] = {0, 0, 0, 0, 192, 0, 2, 1};
  EXPECT_NE(Network::of_v6(low), Network::of_v4(0xc0000201));
}

TEST(OpenCounts, CountsUpToTheLimitOfANetworkOverAllLocations) {
  CountsMemory memory({.rows = 10, .seats = 2, .sites = 3});
  OpenCounts counts = memory.counts();
  ASSERT_TRUE(counts.enter(getpid()));
  Network client = Network::of_v4(1);
  auto one = counts.open({.network = client, .site = 0, .max_of_network = 2});
  auto two = counts.open({.network = client, .site = 1, .max_of_network = 2});
  EXPECT_EQ(two.answer, Answer::counted);
  EXPECT_EQ(counts.open({.network = client, .site = 2, .max_of_network = 2}).answer,
            Answer::network);
  EXPECT_EQ(counts.open({.network = Network::of_v4(2), .max_of_network = 2}).answer,
            Answer::counted);
  counts.close(one.row);
  EXPECT_EQ(counts.of_network(client), 1u);
  EXPECT_EQ(counts.open({.network = client, .site = 2, .max_of_network = 2}).answer,
            Answer::counted);
}

TEST(OpenCounts, CountsUpToTheLimitOfALocationOverAllNetworks) {
  CountsMemory memory({.rows = 10, .seats = 2, .sites = 3});
  OpenCounts counts = memory.counts();
  ASSERT_TRUE(counts.enter(getpid()));
  auto one = counts.open({.network = Network::of_v4(1), .site = 1, .max_of_site = 2});
  EXPECT_EQ(counts.open({.network = {}, .site = 1, .max_of_site = 2}).answer, Answer::counted);
  EXPECT_EQ(counts.open({.network = Network::of_v4(3), .site = 1, .max_of_site = 2}).answer,
            Answer::site);
  EXPECT_EQ(counts.open({.network = Network::of_v4(3), .site = 2, .max_of_site = 2}).answer,
            Answer::counted);
  counts.close(one.row);
  EXPECT_EQ(counts.of_site(1), 1u);
}

TEST(OpenCounts, WhereThereIsNoRoomNobodyIsCounted) {
  CountsMemory memory({.rows = 2, .seats = 1, .sites = 1});
  OpenCounts counts = memory.counts(), stranger = memory.counts();
  ASSERT_TRUE(counts.enter(getpid()));
  EXPECT_FALSE(stranger.enter(getppid()));
  EXPECT_EQ(stranger.open({.network = Network::of_v4(1)}).answer, Answer::no_room);
  auto one = counts.open({.network = Network::of_v4(1)});
  counts.open({.network = Network::of_v4(2)});
  auto three = counts.open({.network = Network::of_v4(3)});
  EXPECT_EQ(three.answer, Answer::no_room);
  EXPECT_EQ(three.row, 0u);
  counts.close(one.row);
  EXPECT_EQ(counts.open({.network = Network::of_v4(3)}).answer, Answer::counted);
}

TEST(OpenCounts, WhatIsClosedLateIsNobodyElses) {
  CountsMemory memory({.rows = 1, .seats = 2, .sites = 1});
  OpenCounts gone = memory.counts(), counts = memory.counts();
  ASSERT_TRUE(gone.enter(getpid()));
  ASSERT_TRUE(counts.enter(getppid()));
  auto late = gone.open({.network = Network::of_v4(1)});
  gone.leave(getpid());
  auto now = counts.open({.network = Network::of_v4(2)});
  ASSERT_EQ(now.row, late.row);
  gone.close(late.row);
  EXPECT_EQ(counts.of_network(Network::of_v4(2)), 1u);
}

TEST(OpenCounts, ThreadsThatRaceGetExactlyTheLimit) {
  CountsMemory memory({.rows = 100, .seats = 1, .sites = 1});
  OpenCounts counts = memory.counts();
  ASSERT_TRUE(counts.enter(getpid()));
  std::atomic<int> counted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; i++) {
        auto opened = counts.open({.network = Network::of_v4(1), .max_of_network = 150});
        if (opened.row) counted++;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counted, 150);
  EXPECT_EQ(counts.of_network(Network::of_v4(1)), 150u);
}

// Processes that do nothing; they are there until the end of the test.
class Processes {
 public:
  pid_t start() {
    pid_t child = fork();
    if (!child)
      for (;;) pause();
    all_.push_back(child);
    return child;
  }
  ~Processes() {
    for (pid_t each : all_) {
      kill(each, SIGKILL);
      waitpid(each, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> all_;
};

// The plain counterpart: each connection, whose it is, and where.
struct Plain {
  size_t process;
  Network network;
  uint32_t site, row;
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {
    for (int i = 0; i < 4; i++) {
      pids_.push_back(processes_.start());
      counts_.push_back(std::make_unique<OpenCounts>(memory_.counts()));
      EXPECT_TRUE(counts_.back()->enter(pids_.back()));
    }
  }

  void step() {
    size_t process = pick(counts_.size());
    unsigned what = pick(100);
    if (what < 60) open(process);
    else if (what < 98) close();
    else replace(process);
  }

  void check() {
    for (uint32_t each = 0; each < kNetworks; each++)
      ASSERT_EQ(counts_[0]->of_network(Network::of_v4(each)),
                count([&](const Plain& one) { return one.network == Network::of_v4(each); }));
    for (uint32_t site = 0; site < kSites; site++)
      ASSERT_EQ(counts_[0]->of_site(site),
                count([&](const Plain& one) { return one.site == site; }));
  }

 private:
  static constexpr uint32_t kNetworks = 12, kSites = 3, kRows = 60;

  uint32_t pick(size_t below) { return uint32_t(random_() % below); }
  size_t count(auto which) const {
    return size_t(std::count_if(open_.begin(), open_.end(), which));
  }

  // All of its rows are in use by those that live.
  bool is_full() const {
    std::map<std::tuple<size_t, int, uint64_t, uint32_t>, int> rows;
    for (const Plain& each : open_)
      rows[{each.process, each.network.kind, each.network.kind ? each.network.bits : 0,
            each.site}]++;
    return rows.size() >= kRows;
  }

  void open(size_t process) {
    Plain one{process, pick(5) ? Network::of_v4(pick(kNetworks)) : Network{}, pick(kSites), 0};
    uint32_t of_network = pick(10), of_site = pick(3) ? 0 : pick(60);
    Answer expected = Answer::counted;
    if (one.network.kind && of_network &&
        count([&](const Plain& o) { return o.network == one.network; }) >= of_network)
      expected = Answer::network;
    else if (of_site && count([&](const Plain& o) { return o.site == one.site; }) >= of_site)
      expected = Answer::site;
    auto opened = counts_[process]->open({.network = one.network,
                                          .site = one.site,
                                          .max_of_network = of_network,
                                          .max_of_site = of_site});
    if (opened.answer == Answer::no_room && is_full()) expected = Answer::no_room;
    ASSERT_EQ(opened.answer, expected);
    one.row = opened.row;
    if (opened.row) open_.push_back(one);
  }

  void close() {
    if (open_.empty()) return;
    size_t which = pick(open_.size());
    counts_[open_[which].process]->close(open_[which].row);
    open_.erase(open_.begin() + ptrdiff_t(which));
  }

  // The process ends with all that it has; another comes.
  void replace(size_t process) {
    counts_[process]->leave(pids_[process]);
    uint32_t late = 0;
    std::erase_if(open_, [&](const Plain& one) {
      if (one.process == process) late = one.row;
      return one.process == process;
    });
    if (late && pick(2)) counts_[process]->close(late);  // by one that has left already
    counts_[process] = std::make_unique<OpenCounts>(memory_.counts());
    ASSERT_TRUE(counts_[process]->enter(pids_[process]));
  }

  CountsMemory memory_{{.rows = kRows, .seats = 4, .sites = kSites}};
  std::mt19937 random_;
  Processes processes_;
  std::vector<pid_t> pids_;
  std::vector<std::unique_ptr<OpenCounts>> counts_;
  std::vector<Plain> open_;
};

TEST(OpenCounts, RandomUseCountsAsThePlainCounterpart) {
  for (unsigned seed = 1; seed <= 20 && !testing::Test::HasFatalFailure(); seed++) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Model model(seed);
    for (int i = 0; i < 2000 && !testing::Test::HasFatalFailure(); i++) {
      model.step();
      if (i % 10 == 0) model.check();
    }
  }
}

}  // namespace
}  // namespace mws::test
