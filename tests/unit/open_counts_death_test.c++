// A process that is killed at any instruction while it counts leaves nothing behind.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

#include "tests/unit/open_counts_support.h"

namespace mws::test {
namespace {

const Network kClient = Network::of_v4(1), kOther = Network::of_v4(2);

// With a step in between for the parent to begin at.
[[noreturn]] void count_and_end(OpenCounts& counts) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  counts.enter(getpid());
  counts.close(counts.open({.network = kClient}).row);  // once without steps: now all is linked
  raise(SIGSTOP);
  auto one = counts.open({.network = kClient});
  counts.open({.network = kClient});
  auto other = counts.open({.network = kOther, .site = 1});
  counts.close(one.row);
  counts.close(other.row);
  _exit(0);
}

// How many instructions were executed before it ended or was killed.
unsigned run_and_kill(pid_t child, unsigned after) {
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSTOPPED(status));
  for (unsigned done = 0;; done++) {
    if (done == after) kill(child, SIGKILL);
    else ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    if (WIFEXITED(status) || WIFSIGNALED(status)) return done;
  }
}

TEST(OpenCountsDeath, WhoeverDiesWhileCountingLeavesEverythingWhole) {
  constexpr uint32_t kRows = 6;
  CountsMemory memory({.rows = kRows, .seats = 2, .sites = 2});
  OpenCounts counts = memory.counts();
  ASSERT_TRUE(counts.enter(getpid()));
  auto kept = counts.open({.network = kClient}), also_kept = counts.open({.network = kOther});
  ASSERT_TRUE(kept.row && also_kept.row);
  unsigned all = 0;  // instructions, about
  constexpr unsigned kKilled = 60;
  for (unsigned number = 0; number <= kKilled; number++) {
    unsigned after = number ? 1 + (all + all / 20) * number / kKilled : UINT_MAX;
    SCOPED_TRACE("killed after " + std::to_string(after) + " instructions");
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (!child) count_and_end(counts);
    unsigned executed = run_and_kill(child, after);
    if (!number) all = executed;
    ASSERT_GT(executed, 0u);
    counts.leave(child);

    ASSERT_EQ(counts.of_network(kClient), 1u);
    ASSERT_EQ(counts.of_network(kOther), 1u);
    ASSERT_EQ(counts.of_site(0), 2u);
    ASSERT_EQ(counts.of_site(1), 0u);
    uint32_t rows[kRows] = {};
    for (uint32_t i = 2; i < kRows; i++) {  // all of them are to be had
      rows[i] = counts.open({.network = Network::of_v4(100 + i), .site = 1}).row;
      ASSERT_NE(rows[i], 0u);
    }
    ASSERT_EQ(counts.open({.network = Network::of_v4(99)}).answer, OpenCounts::Answer::no_room);
    for (uint32_t i = 2; i < kRows; i++) counts.close(rows[i]);
  }
}

}  // namespace
}  // namespace mws::test
