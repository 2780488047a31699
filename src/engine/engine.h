// The event loops of one process and their threads.
#pragma once
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "src/engine/loop.h"

namespace mws {

// While it lives the thread handles no signal but those of its own faults, and neither do threads
// that it makes: signals are for the process's own.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

class Engine {
 public:
  // meters makes those of a loop; max_buffered: see Budget.
  explicit Engine(
      unsigned loops, std::function<std::unique_ptr<Meters>()> meters = [] { return nullptr; },
      size_t max_buffered = SIZE_MAX)
      : wanted_(loops), meters_(std::move(meters)), budget_(max_buffered) {}
  ~Engine();  // waits for the threads: stop first

  // Starts the threads if they do not run yet. Any thread. Throws std::system_error if the system
  // has no room for a single one.
  void start();
  // The loop for the next connection. Any thread, after start().
  Loop& next_loop();
  // One that is always the same. Likewise.
  Loop& first_loop() { return running_[0]->loop; }
  // See Loop::any_thread_stop; it holds for loops that start later too. Any thread; fit for a
  // signal handler.
  void stop(uint16_t close_code, uint64_t grace_ms);
  // See Loop::any_thread_drain; likewise. Any thread. Throws std::bad_alloc.
  void drain(uint16_t close_code, uint64_t over_ms);
  // Waits until every connection is gone and ends the threads; false if that takes longer than
  // within_ms. After stop(), or when there is no connection. Frees no memory.
  bool join(uint64_t within_ms);
  // For loops that somebody else runs.
  Budget& budget() { return budget_; }
  // Has each loop run the task, a callable that takes it. Any thread. Throws std::bad_alloc.
  template <class Task>
  void any_thread_post(Task task) {
    if (started_)
      for (auto& running : running_)
        running->loop.any_thread_post([task, loop = &running->loop] { task(*loop); });
  }
  size_t loops() const { return started_ ? running_.size() : 0; }
  // Tells the endpoints that hold up a loop at this moment.
  void tell_who_holds_up();

 private:
  struct Running {
    Running(std::unique_ptr<Meters> meters, Budget& budget)
        : loop(Loop::kReceiveBytes, std::move(meters), &budget) {}
    Loop loop;
    std::thread thread;
  };
  void pass_on();
  unsigned wanted_;
  const std::function<std::unique_ptr<Meters>()> meters_;
  Budget budget_;
  std::mutex start_lock_;
  std::atomic<bool> started_ = false;
  std::atomic<uint64_t> stop_asked_ = 0, drain_asked_ = 0;  // close code << 32 | milliseconds
  std::atomic<unsigned> turn_ = 0;
  std::vector<std::unique_ptr<Running>> running_;
  std::mutex ended_lock_;
  std::condition_variable one_ended_;
  size_t ended_ = 0;  // loops; under ended_lock_
};

}  // namespace mws
