// The event loops of one process and their threads.
#pragma once
#include <signal.h>

#include <atomic>
#include <condition_variable>
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
  explicit Engine(unsigned loops) : wanted_(loops) {}
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
  // Tells the endpoints that hold up a loop at this moment.
  void tell_who_holds_up();

 private:
  struct Running {
    Loop loop;
    std::thread thread;
  };
  void pass_on();
  unsigned wanted_;
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
