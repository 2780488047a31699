// What other threads hand to a loop.
#include <unistd.h>

#include <new>
#include <utility>

#include "src/base/clock.h"
#include "src/engine/loop.h"

namespace mws {

namespace {

// So long a newcomer that nobody waits for may lie in the mailbox.
constexpr uint64_t kLook_ms = 50;

}  // namespace

// --- From other threads ---

void Loop::any_thread_adopt(std::unique_ptr<Connection> connection, std::vector<uint8_t> early) {
  any_thread_tell_if_held_up();  // this one will have to wait for it
  Connection* patient = early.empty() && connection->may_start_late() ? connection.get() : nullptr;
  auto task = [this, c = std::move(connection), e = std::move(early)]() mutable {
    start(std::move(c), e);
  };
  any_thread_post_mail(std::make_unique<Posted<decltype(task)>>(std::move(task)), patient);
}

// To be woken costs a loop more than all else that a newcomer costs it. One that is patient is
// watched at once, and starts with the first that the client sends or when the loop looks.
void Loop::any_thread_post_mail(std::unique_ptr<Mail> mail, Connection* patient) {
  {
    std::lock_guard lock(mail_lock_);
    mail_.push_back(std::move(mail));
    bool may_wait = patient && sleeps_ && looks_;
    // The loop does not get at it until the lock is released.
    if (may_wait) patient->watched_ = watch(*patient, patient->first_interest());
    if (may_wait && patient->watched_) return;
    has_mail_ = true;
    if (!sleeps_.exchange(false)) return;
  }
  wake();
}

void Loop::wake() {
  uint64_t one = 1;
  // It fails only when the counter is full, and then the loop is awake.
  [[maybe_unused]] ssize_t size = write(wakeup_, &one, sizeof one);
}

// --- On the loop's thread ---

bool Loop::has_mail() {
  std::lock_guard lock(mail_lock_);
  return !mail_.empty();
}

// From then on whoever posts wakes the loop.
bool Loop::may_sleep() {
  std::lock_guard lock(mail_lock_);
  sleeps_ = !has_mail_;
  return sleeps_;
}

void Loop::deliver_mail() {
  std::vector<std::unique_ptr<Mail>> mail;
  {
    std::lock_guard lock(mail_lock_);
    mail.swap(mail_);
    has_mail_ = false;
  }
  for (auto& each : mail) {
    try {
      each->run();
    } catch (const std::bad_alloc&) {
      // No memory for another connection: it is gone with its mail.
    }
  }
}

void Loop::start(std::unique_ptr<Connection> connection, MutableBytes early) {
  try {
    counters(connection->site().number);
    reserve_timers(1);  // from here on there is memory for what follows
  } catch (const std::bad_alloc&) {
    if (connection->watched_) unwatch(connection.get(), connection->descriptor_);
    throw;
  }
  connections_++;
  Connection& started = *connection.release();  // the list owns it
  started.loop_start(*this, early);
  if (stopping_) started.loop_stop(stop_code_);
  else if (drain_.close_code) started.loop_drain(drain_.close_code);
  if (serves_many_ && !look_.is_set()) look_.begin();
}

// Those who come soon after another need not wake the loop.
void Loop::Look::begin() {
  loop.timers_.set(*this, monotonic_ms() + kLook_ms);
  std::lock_guard lock(loop.mail_lock_);
  loop.looks_ = true;
}

void Loop::Look::on_due() {
  loop.deliver_mail();  // which may set this anew
  if (is_set()) return;
  {
    std::lock_guard lock(loop.mail_lock_);
    loop.looks_ = !loop.mail_.empty();
  }
  if (loop.looks_) begin();
}

}  // namespace mws
