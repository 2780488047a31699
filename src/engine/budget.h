// What may wait for the clients of all loops of a process together, in bytes. Past it a loop ends
// those of its connections for which most waits. Any thread.
#pragma once
#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

namespace mws {

class Loop;

class Budget {
 public:
  explicit Budget(size_t limit) : limit_(limit) {}

  void add(Loop& loop);  // throws std::bad_alloc
  void remove(Loop& loop);
  // So much more waits at one of the loops; less, where it is negative.
  void change(ptrdiff_t bytes) {
    size_t now = total_.fetch_add(size_t(bytes), std::memory_order_relaxed) + size_t(bytes);
    if (bytes > 0 && now > limit_) shed();
  }
  bool is_exceeded() const { return total() > limit_; }
  size_t total() const { return total_.load(std::memory_order_relaxed); }

 private:
  void shed();
  const size_t limit_;
  std::atomic<size_t> total_ = 0;
  std::mutex lock_;
  std::vector<Loop*> loops_;  // under lock_
};

}  // namespace mws
