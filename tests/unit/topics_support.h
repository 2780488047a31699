// What the tests of topics share: memory as the children of a server have it.
#pragma once
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/pubsub/shared_topics.h"

namespace mws::test {

class TopicMemory {
 public:
  explicit TopicMemory(const SharedTopics::Sizes& sizes) : size_(SharedTopics::bytes_for(sizes)) {
    at_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(at_, MAP_FAILED);
    SharedTopics::lay_out(at_, sizes);
    descriptor_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  ~TopicMemory() {
    munmap(at_, size_);
    close(descriptor_);
  }
  TopicMemory(const TopicMemory&) = delete;
  TopicMemory& operator=(const TopicMemory&) = delete;

  std::unique_ptr<SharedTopics> topics(const HistoryLimits& history = {},
                                       uint64_t max_subscribers = UINT64_MAX) {
    return std::make_unique<SharedTopics>(at_, std::span(&descriptor_, 1), history,
                                          max_subscribers);
  }

 private:
  size_t size_;
  void* at_;
  int descriptor_;
};

inline Publication publication(std::string_view topic, std::string_view text, bool kept = true) {
  Publication made;
  made.topic = topic;
  made.payload = bytes_of(text);
  made.kept = kept;
  return made;
}

inline std::vector<std::string> texts(const Fetched& fetched) {
  std::vector<std::string> all;
  for (const auto& each : fetched.entries)
    all.emplace_back(each.payload.begin(), each.payload.end());
  return all;
}

using Texts = std::vector<std::string>;

}  // namespace mws::test
