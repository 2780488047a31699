// What limits a connection: times, rates, and what may wait for it.
#include <algorithm>
#include <cstring>

#include "src/base/clock.h"
#include "src/engine/connection.h"
#include "src/engine/loop.h"
#include "src/protocol/close_code.h"

namespace mws {

namespace {

constexpr uint64_t kNever = UINT64_MAX;

// Looks that are not urgent come together, so that the loop wakes up for many at once.
uint64_t rounded(uint64_t due_ms, uint64_t in_ms) {
  constexpr uint64_t kTogether_ms = 128, kUrgent_ms = 2000;
  return in_ms < kUrgent_ms ? due_ms : due_ms | (kTogether_ms - 1);
}

// Always the same for a connection, spread evenly over 0 to 1.
double chance_of(uint64_t id) {
  uint64_t mixed = (id + 1) * 0x9E3779B97F4A7C15;
  return double(mixed >> 11) / double(uint64_t(1) << 53);
}

}  // namespace

// --- Time ---

// A callback on a loop of its own may go on for as long as it likes.
uint32_t Connection::now_ms() const {
  if (!loop_->serves_many_) return uint32_t(coarse_ms());
  return uint32_t(loop_->noted_ms_.load(std::memory_order_relaxed));
}

uint64_t Connection::age_ms() const { return monotonic_ms() - opened_ms_; }

void Connection::begin_limits() {
  opened_ms_ = monotonic_ms();
  heard_ms_ = message_ms_ = uint32_t(opened_ms_);
  look_at_limits();
}

// Of an open connection: does what is due, and sets the timer for the next look.
void Connection::look_at_limits() {
  uint64_t now = monotonic_ms(), next_ms = kNever;
  end_if_over(now, next_ms);
  if (phase_ == Phase::open && site_.limits.ping_ms)
    next_ms = std::min(next_ms, look_at_silence(uint32_t(now)));
  if (paused_by_ & by_rate) {
    uint64_t wait_ms = rate_wait_ms();
    if (wait_ms) next_ms = std::min(next_ms, wait_ms);
    else resume(by_rate);
  }
  if (phase_ == Phase::open && !broken_ && next_ms != kNever) look_in(next_ms);
}

// Not later than it would anyway.
void Connection::look_in(uint64_t in_ms) {
  uint64_t due_ms = rounded(monotonic_ms() + in_ms, in_ms);
  if (is_set() && int32_t(uint32_t(due_ms) - next_look_ms_) >= 0) return;
  next_look_ms_ = uint32_t(due_ms);
  loop_->timers_.set(*this, due_ms);
}

// Closes it, behind the message that is arriving, if its time is over.
void Connection::end_if_over(uint64_t now, uint64_t& next_ms) {
  const ConnectionLimits& limits = site_.limits;
  bool was_over = drain_code_ && (cause_ == Cause::lifetime || cause_ == Cause::idle);
  if (was_over) {  // and a message was arriving
    uint64_t past_ms = uint32_t(uint32_t(now) - over_ms_);
    if (past_ms >= limits.close_timeout_ms) close(drain_code_, "");
    else next_ms = std::min(next_ms, limits.close_timeout_ms - past_ms);
    return;
  }
  auto end_after = [&](uint64_t limit_ms, uint64_t past_ms, Cause cause) {
    if (past_ms < limit_ms) {
      next_ms = std::min(next_ms, limit_ms - past_ms);
      return;
    }
    site_.limit_reached(*this, cause);
    over_ms_ = uint32_t(now);
    next_ms = std::min(next_ms, limits.close_timeout_ms);
    loop_drain(kCloseGoingAway, cause);
  };
  if (limits.lifetime_ms && !drain_code_) {
    double shorter = chance_of(id_) * limits.lifetime_jitter / 100;
    uint64_t lifetime_ms = limits.lifetime_ms - uint64_t(double(limits.lifetime_ms) * shorter);
    end_after(lifetime_ms, now - opened_ms_, Cause::lifetime);
  }
  if (!limits.idle_ms || drain_code_) return;
  // A message that arrives slowly is no silence, nor is one that nobody reads, or that has not been
  // read as the loop stood still.
  if (!reads()) message_ms_ = uint32_t(now);
  auto silent_ms = [&] {
    uint32_t since_ms = uint32_t(now) - (session_.in_message() ? heard_ms_ : message_ms_);
    return int32_t(since_ms) < 0 ? uint64_t(0) : uint64_t(since_ms);  // later than now: just read
  };
  if (silent_ms() >= limits.idle_ms) read_some();
  if (phase_ == Phase::open && !broken_) end_after(limits.idle_ms, silent_ms(), Cause::idle);
}

// Pings a client that is silent, ends one that stays so. Returns when to look again.
uint64_t Connection::look_at_silence(uint32_t now) {
  uint64_t ping_ms = site_.limits.ping_ms, timeout_ms = site_.limits.pong_timeout_ms;
  // Those that have come at once are not pinged at once for ever.
  ping_ms -= uint64_t(chance_of(id_) * double(ping_ms) / 8);
  if (backlog()) write_unsent();  // it may have read more than the system has told of
  // Who is not read cannot be heard; but a client that should read is heard by its reading.
  if (!reads() && backlog() <= high_water()) note_heard(now);
  // The loop itself may have stood still: only what follows a ping counts as silence after it.
  if (awaits_life_ && timeout_ms) {
    uint64_t past_ms = uint32_t(now - pinged_ms_);
    if (past_ms < timeout_ms) return std::min(ping_ms, timeout_ms - past_ms);
    site_.limit_reached(*this, Cause::ping);
    abort(Cause::ping);
    return kNever;
  }
  uint64_t silent_ms = uint32_t(now - heard_ms_);
  if (silent_ms < ping_ms) return ping_ms - silent_ms;
  awaits_life_ = true;
  pinged_ms_ = now;
  ping_us_ = 0;
  if (!backlog()) {  // else what waits asks for a sign of life too
    ping_us_ = uint32_t(monotonic_ns() / 1000) | 1;
    ping({reinterpret_cast<const uint8_t*>(&ping_us_), sizeof ping_us_});
  }
  return timeout_ms ? std::min(ping_ms, timeout_ms) : ping_ms;  // it may have answered by then
}

// Such a pong is not for the endpoint, which has not asked for it.
bool Connection::answers_ping(Bytes pong) {
  if (!ping_us_ || pong.size() != sizeof ping_us_ || memcmp(pong.data(), &ping_us_, pong.size()))
    return false;
  totals_.round_trip_us = (uint32_t(monotonic_ns() / 1000) | 1) - ping_us_;
  counters_->round_trip.add(uint64_t(totals_.round_trip_us) * 1000);
  ping_us_ = 0;
  return true;
}

// --- Rates ---

bool Connection::exceeds_control_rate() {
  const auto& limit = site_.limits.control_frames;
  if (!limit.per_s || control_frames_.take(1, float(limit.per_s), float(limit.burst), now_ms()))
    return false;
  site_.limit_reached(*this, Cause::control_rate);
  close(kClosePolicy, "too many control frames", Cause::control_rate);
  return true;
}

bool Connection::charge_message() {
  return !rare_->rates || charge(rare_->rates->messages, site_.limits.messages, 1);
}

// False if that closes the connection.
bool Connection::charge(Rate& rate, const ConnectionLimits::Rate& limit, double amount) {
  if (!limit.per_s || rate.take(amount, limit.per_s, limit.burst, now_ms())) return true;
  if (phase_ != Phase::open) return true;
  if (site_.limits.rate_closes) {
    site_.limit_reached(*this, Cause::rate);
    close(kClosePolicy, "more than may be sent in a second", Cause::rate);
    return false;
  }
  if (!(paused_by_ & by_rate)) {
    site_.limit_reached(*this, Cause::rate);
    counters_->rate_pauses.add();
    pause(by_rate);
  }
  look_in(std::max<uint64_t>(rate_wait_ms(), 1));
  return true;
}

uint64_t Connection::rate_wait_ms() const {
  const ConnectionLimits& limits = site_.limits;
  auto wait_ms = [&](const Rate& rate, const ConnectionLimits::Rate& limit) {
    return limit.per_s ? rate.wait_ms(limit.per_s, limit.burst, uint32_t(monotonic_ms())) : 0;
  };
  const Rates& rates = *rare_->rates;
  return std::max(wait_ms(rates.messages, limits.messages), wait_ms(rates.bytes, limits.bytes));
}

// --- What waits ---

void Connection::note_buffered() {
  size_t takes = memory_waiting();
  if (takes == buffered_) return;
  loop_->count_buffered(*counters_, ptrdiff_t(takes) - ptrdiff_t(buffered_));
  buffered_ = takes;
  size_t waits = backlog();
  totals_.most_buffered =
      uint32_t(std::max<size_t>(totals_.most_buffered, std::min<size_t>(waits, UINT32_MAX)));
  bool over = waits > high_water();
  if (over && !over_high_water_ && site_.limits.slow == ConnectionLimits::Slow::pause)
    counters_->slow_pauses.add();
  over_high_water_ = over;
}

// What waits for it would not let a close frame through.
void Connection::go_for_memory() {
  site_.limit_reached(*this, Cause::memory);
  blame(Cause::memory);
  go();
}

}  // namespace mws
