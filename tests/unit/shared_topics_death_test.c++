// A child that is killed at any instruction of a publication harms nobody.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <climits>

#include "tests/unit/topics_support.h"

namespace mws::test {
namespace {

const SharedTopics::Sizes kSizes{
    .ring_bytes = 4 << 10, .history_bytes = 8 << 10, .topics = 4, .seats = 4};

std::string text_of_number(unsigned number) {
  return std::to_string(number) + ":" + std::string(number * 37 % 700, char('a' + number % 26));
}

// Publishes with a step in between for the parent to begin at.
[[noreturn]] void publish_and_end(SharedTopics& topics, unsigned number) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  std::string text = text_of_number(number);
  // The names make the table of topics full, so that one has to be given up.
  std::string topic = "topic " + std::to_string(number % 7);
  topics.publish(publication(topic, "0:"));  // once without steps: now all functions are linked
  raise(SIGSTOP);
  topics.publish(publication(topic, text));
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

bool is_whole(std::string_view text) {
  unsigned number = unsigned(std::stoul(std::string(text.substr(0, text.find(':')))));
  return text == text_of_number(number);
}

TEST(SharedTopicsDeath, WhoeverDiesWhilePublishingLeavesEverythingWhole) {
  TopicMemory memory(kSizes);
  auto topics = memory.topics({.count = 3, .bytes = 8000});
  ASSERT_TRUE(topics->enter());
  ASSERT_TRUE(topics->subscribe("topic 0"));
  SharedTopics::Reader reader(*topics);
  uint64_t last_id = 0;
  unsigned all = 0;  // instructions of one publication, about
  constexpr unsigned kKilled = 60;
  for (unsigned number = 0; number <= kKilled; number++) {
    unsigned after = number ? 1 + (all + all / 20) * number / kKilled : UINT_MAX;
    SCOPED_TRACE("killed after " + std::to_string(after) + " instructions");
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (!child) publish_and_end(*topics, number);
    unsigned executed = run_and_kill(child, after);
    if (!number) all = executed;
    ASSERT_GT(executed, 0u);

    while (reader.read([](uint64_t) {},
                       [&](const Publication& each) {
                         EXPECT_TRUE(is_whole(text_of(each.payload)));
                         EXPECT_GT(each.id, last_id);
                         last_id = each.id;
                       })) {
    }
    for (int i = 0; i < 7; i++) {
      std::string topic = "topic " + std::to_string(i);
      Fetched fetched = topics->fetch({.topic = topic, .last = 99});
      EXPECT_LE(fetched.entries.size(), 4u);  // the next to publish drops one
      EXPECT_EQ(topics->state(topic).kept, fetched.entries.size());
      uint64_t before = 0;
      for (const auto& entry : fetched.entries) {
        EXPECT_GT(entry.id, before);
        before = entry.id;
        EXPECT_TRUE(is_whole(text_of(entry.payload)));
      }
    }
    EXPECT_EQ(topics->state("topic 0").subscribers, 1u);
  }
  // All of the memory is still to be had.
  for (int i = 0; i < 7; i++) topics->clear_history("topic " + std::to_string(i));
  std::string all_of_it(kSizes.history_bytes / 256 * 248 - 40, 'x');
  topics->publish(publication("topic 1", all_of_it));
  EXPECT_EQ(texts(topics->fetch({.topic = "topic 1", .last = 1})), Texts{all_of_it});
}

}  // namespace
}  // namespace mws::test
