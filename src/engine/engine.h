// The event loops of one process and their threads.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "src/engine/loop.h"

namespace mws {

class Engine {
 public:
  explicit Engine(unsigned loops) : wanted_(loops) {}
  ~Engine();  // stop and join first

  // Starts the threads if they do not run yet. Any thread. Throws std::system_error if the system
  // has no room for a single one.
  void start();
  // The loop for the next connection. Any thread, after start().
  Loop& next_loop();
  // See Loop::any_thread_stop. Any thread; fit for a signal handler that interrupts anything but
  // start().
  void stop(uint16_t close_code, uint64_t grace_ms);
  // Waits until every connection is gone and ends the threads. Once, after stop().
  void join();

 private:
  struct Running {
    Loop loop;
    std::thread thread;
  };
  unsigned wanted_;
  std::mutex start_lock_;
  std::atomic<bool> started_ = false;
  std::atomic<unsigned> turn_ = 0;
  std::vector<std::unique_ptr<Running>> running_;
};

}  // namespace mws
