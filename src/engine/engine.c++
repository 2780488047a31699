#include "src/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace mws {

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  // A thread's own faults are not for others.
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS})
    sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

Engine::~Engine() {
  for (auto& running : running_) running->loop.any_thread_quit();
  for (auto& running : running_)
    if (running->thread.joinable()) running->thread.join();
}

void Engine::start() {
  if (started_) return;
  std::lock_guard lock(start_lock_);
  if (started_) return;
  SignalsBlocked blocked;
  while (running_.size() < wanted_) {
    try {
      auto running = std::make_unique<Running>(meters_(), budget_);
      running->thread = std::thread([this, loop = &running->loop] {
        loop->run();
        std::lock_guard ended(ended_lock_);
        ended_++;
        one_ended_.notify_all();
      });
      running_.push_back(std::move(running));
    } catch (const std::system_error&) {
      if (running_.empty()) throw;
      break;  // fewer will do
    }
  }
  started_ = true;
  pass_on();
}

Loop& Engine::next_loop() { return running_[turn_++ % running_.size()]->loop; }

void Engine::stop(uint16_t close_code, uint64_t grace_ms) {
  stop_asked_ = uint64_t(close_code) << 32 | std::min<uint64_t>(grace_ms, UINT32_MAX);
  pass_on();
}

void Engine::drain(uint16_t close_code, uint64_t over_ms) {
  drain_asked_ = uint64_t(close_code) << 32 | std::min<uint64_t>(over_ms, UINT32_MAX);
  pass_on();
}

// Tells the loops what was asked. Whoever starts them looks after they can be told, whoever asks
// looks after it was written down: one of them sees both.
void Engine::pass_on() {
  if (!started_) return;
  uint64_t drain = drain_asked_.exchange(0), stop = stop_asked_;
  for (auto& running : running_) {
    if (drain) running->loop.any_thread_drain(uint16_t(drain >> 32), uint32_t(drain));
    if (stop) running->loop.any_thread_stop(uint16_t(stop >> 32), uint32_t(stop));
  }
}

void Engine::tell_who_holds_up() {
  for (auto& running : running_) running->loop.any_thread_tell_if_held_up();
}

bool Engine::join(uint64_t within_ms) {
  for (auto& running : running_) running->loop.any_thread_quit();
  {
    std::unique_lock lock(ended_lock_);
    auto all_ended = [this] { return ended_ == running_.size(); };
    if (!one_ended_.wait_for(lock, std::chrono::milliseconds(within_ms), all_ended)) return false;
  }
  // Nothing is freed: this may be a signal handler that interrupted malloc.
  for (auto& running : running_)
    if (running->thread.joinable()) running->thread.join();
  return true;
}

}  // namespace mws
