#include "src/handler/workers.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/engine/engine.h"

namespace mws {

// --- The pool ---

Workers::~Workers() {
  while (!finish(60'000)) {
  }
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
  waking_ = true;
}

void Workers::push(std::shared_ptr<Strand> strand) {
  Strand* last = strand.get();
  (last_ready_ ? last_ready_->next_ready_ : first_ready_) = std::move(strand);
  last_ready_ = last;
  ready_++;
}

std::shared_ptr<Strand> Workers::pop() {
  auto strand = std::move(first_ready_);
  first_ready_ = std::move(strand->next_ready_);
  if (!first_ready_) last_ready_ = nullptr;
  ready_--;
  return strand;
}

// With lock_. One at a time is woken, or made where none is idle, and wakes the next if work is
// left: waking is dear, and those that are awake may have taken it all by then.
bool Workers::wakes_one() {
  if (!ready_ || waking_) return false;
  if (idle_) {
    waking_ = true;
    return true;
  }
  if (threads_.size() < most_) {
    try {
      add_thread();
    } catch (const std::exception&) {
      // Fewer will do: start() made one.
    }
  }
  return false;
}

void Workers::wake_one() {
  bool wakes;
  {
    std::lock_guard hold(lock_);
    wakes = wakes_one();
  }
  if (wakes) wanted_.notify_one();
}

void Workers::schedule(std::shared_ptr<Strand> strand, Loop* in_turn) noexcept {
  bool can_wait;
  {
    std::lock_guard hold(lock_);
    if (finishing_ && !alive_) return;
    push(std::move(strand));
    can_wait = in_turn && ready_ < kAtOnce;
  }
  try {
    if (can_wait) return in_turn->defer(*this);
  } catch (const std::bad_alloc&) {
    // It is woken now.
  }
  wake_one();
}

void Workers::work() {
  std::unique_lock lock(lock_);
  waking_ = false;
  while (true) {
    while (!ready_ && !finishing_) {
      idle_++;
      wanted_.wait(lock);
      idle_--;
      waking_ = false;
    }
    if (!ready_) break;
    auto strand = pop();
    bool wakes = wakes_one();
    lock.unlock();
    if (wakes) wanted_.notify_one();
    bool more = strand->run_one();
    if (!more) strand.reset();
    lock.lock();
    if (more) push(std::move(strand));  // behind the others: each has its turn
  }
  alive_--;
  ended_.notify_all();
}

bool Workers::finish(uint64_t within_ms) {
  std::unique_lock lock(lock_);
  finishing_ = true;
  wanted_.notify_all();
  auto all_ended = [this] { return alive_ == 0; };  // and nobody makes one any more
  if (!ended_.wait_for(lock, std::chrono::milliseconds(within_ms), all_ended)) return false;
  lock.unlock();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
  return true;
}

// --- One connection ---

bool Strand::add(Kind kind, size_t bytes, std::function<void()> event, Loop* in_turn) {
  bool schedules;
  bool has_room = true;
  {
    std::lock_guard hold(lock_);
    if (ended_) return true;
    events_.push_back({kind, bytes, std::move(event)});
    bytes_ += bytes;
    if (kind == Kind::input && (bytes_ >= kBytes || events_.size() >= kEvents)) full_ = true;
    has_room = !full_;
    schedules = !scheduled_ && has_more();
    scheduled_ |= schedules;
  }
  if (schedules) workers_.schedule(shared_from_this(), in_turn);
  return has_room;
}

void Strand::end(Ref<Counted> held) noexcept {
  {
    std::lock_guard hold(lock_);
    ended_ = true;
    held_ = std::move(held);
    if (std::exchange(scheduled_, true)) return;
  }
  workers_.schedule(shared_from_this());
}

// With lock_. The first event that may run now.
std::deque<Strand::Event>::iterator Strand::next() {
  return std::find_if(events_.begin(), events_.end(),
                      [this](const Event& each) { return !paused_ || each.kind != Kind::input; });
}

bool Strand::run_one() noexcept {
  Event event;
  {
    std::unique_lock hold(lock_);
    auto first = next();
    if (first == events_.end()) return run_last(std::move(hold)), false;
    event = std::move(*first);
    events_.erase(first);
  }
  event.run();
  event.run = nullptr;
  bool again, resumes;
  {
    std::lock_guard hold(lock_);
    bytes_ -= event.bytes;
    resumes = full_ && bytes_ <= kBytes / 2 && events_.size() <= kEvents / 2;
    if (resumes) full_ = false;
    again = has_more();
    scheduled_ = again;
  }
  if (resumes) worker_insist(resume_);
  return again;
}

void Strand::run_last(std::unique_lock<std::mutex> hold) {
  events_.clear();
  auto held = std::move(held_);
  hold.unlock();
  last_();
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
