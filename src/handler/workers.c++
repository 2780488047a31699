#include "src/handler/workers.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/engine/engine.h"

namespace mws {

// --- The pool ---

Workers::~Workers() {
  {
    std::lock_guard hold(lock_);
    finishing_ = true;
  }
  wanted_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Workers::start() {
  std::lock_guard hold(lock_);
  if (threads_.empty()) add_thread();
}

// With lock_.
void Workers::add_thread() {
  SignalsBlocked blocked;
  threads_.reserve(most_);
  threads_.emplace_back([this] { work(); });
  alive_++;
}

void Workers::schedule(std::shared_ptr<Strand> strand) {
  std::lock_guard hold(lock_);
  ready_.push_back(std::move(strand));
  if (ready_.size() > idle_ && threads_.size() < most_) {
    try {
      add_thread();
    } catch (const std::system_error&) {
      // Fewer will do: start() made one.
    }
  }
  wanted_.notify_one();
}

void Workers::work() {
  std::unique_lock lock(lock_);
  while (true) {
    idle_++;
    wanted_.wait(lock, [this] { return !ready_.empty() || finishing_; });
    idle_--;
    if (ready_.empty()) break;
    auto strand = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    bool more = strand->run_one();
    lock.lock();
    if (more) ready_.push_back(std::move(strand));  // behind the others: each has its turn
  }
  alive_--;
  ended_.notify_all();
}

bool Workers::finish(uint64_t within_ms) {
  std::unique_lock lock(lock_);
  finishing_ = true;
  wanted_.notify_all();
  auto all_ended = [this] { return alive_ == 0; };
  if (!ended_.wait_for(lock, std::chrono::milliseconds(within_ms), all_ended)) return false;
  lock.unlock();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
  return true;
}

// --- One connection ---

bool Strand::add(Kind kind, size_t bytes, std::function<void()> event) {
  bool schedules;
  bool has_room = true;
  {
    std::lock_guard hold(lock_);
    if (ended_) return true;
    events_.push_back({kind, bytes, std::move(event)});
    bytes_ += bytes;
    ended_ = kind == Kind::end;
    if (kind == Kind::input && (bytes_ >= kBytes || events_.size() >= kEvents)) full_ = true;
    has_room = !full_;
    schedules = !scheduled_ && next() != events_.end();
    scheduled_ |= schedules;
  }
  if (schedules) workers_.schedule(shared_from_this());
  return has_room;
}

// With lock_. The first event that may run now.
std::deque<Strand::Event>::iterator Strand::next() {
  return std::find_if(events_.begin(), events_.end(),
                      [this](const Event& each) { return !paused_ || each.kind != Kind::input; });
}

bool Strand::run_one() {
  Event event;
  {
    std::lock_guard hold(lock_);
    auto first = next();
    event = std::move(*first);
    if (event.kind == Kind::end) events_.clear();
    else events_.erase(first);
  }
  event.run();
  bool again, resumes;
  {
    std::lock_guard hold(lock_);
    bytes_ -= event.bytes;
    resumes = full_ && bytes_ <= kBytes / 2 && events_.size() <= kEvents / 2;
    if (resumes) full_ = false;
    again = next() != events_.end();
    scheduled_ = again;
  }
  if (resumes) resume_();
  return again;
}

void Strand::pause() {
  std::lock_guard hold(lock_);
  paused_ = true;
}

// The event that this is called from is being run: run_one looks at what may run now.
void Strand::resume() {
  std::lock_guard hold(lock_);
  paused_ = false;
}

}  // namespace mws
