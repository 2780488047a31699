#include "src/engine/engine.h"

#include <csignal>
#include <system_error>

namespace mws {

namespace {
// Signals are for the process's own threads; a thread inherits the mask of its maker.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};
}  // namespace

Engine::~Engine() { join(); }

void Engine::start() {
  if (started_) return;
  std::lock_guard lock(start_lock_);
  if (started_) return;
  SignalsBlocked blocked;
  while (running_.size() < wanted_) {
    try {
      auto running = std::make_unique<Running>();
      running->thread = std::thread([loop = &running->loop] { loop->run(); });
      running_.push_back(std::move(running));
    } catch (const std::system_error&) {
      if (running_.empty()) throw;
      break;  // fewer will do
    }
  }
  started_ = true;
}

Loop& Engine::next_loop() { return running_[turn_++ % running_.size()]->loop; }

void Engine::stop(uint16_t close_code, uint64_t grace_ms) {
  if (!started_) return;
  for (auto& running : running_) running->loop.any_thread_stop(close_code, grace_ms);
}

void Engine::join() {
  for (auto& running : running_) running->loop.any_thread_quit();
  for (auto& running : running_)
    if (running->thread.joinable()) running->thread.join();
}

}  // namespace mws
