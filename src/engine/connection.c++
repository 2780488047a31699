#include "src/engine/connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <new>

#include "src/base/clock.h"
#include "src/engine/loop.h"
#include "src/protocol/close_code.h"

namespace mws {

namespace {

Cause cause_of(Rule broken) {
  if (broken == Rule::none) return Cause::client;
  if (broken == Rule::message_too_big) return Cause::message_size;
  return broken == Rule::too_many_fragments ? Cause::fragments : Cause::protocol;
}

}  // namespace

struct Connection::EndpointTimers {
  struct One final : Timer {
    void on_due() override { connection->loop_timer(id); }
    Connection* connection;
    uint32_t id;
  };
  std::array<One, kTimers> all;
};

Connection::Connection(std::unique_ptr<Transport> transport, Endpoint& endpoint,
                       const SessionSettings& settings, std::shared_ptr<Attachment> attachment,
                       const Site& site)
    : session_(settings),
      transport_(std::move(transport)),
      endpoint_(endpoint),
      site_(site),
      attachment_(std::move(attachment)) {
  if (site.limits.messages.per_s || site.limits.bytes.per_s) rates_ = std::make_unique<Rates>();
}

Connection::~Connection() = default;

// --- What the endpoint asks for, but sending ---

bool Connection::close(uint16_t code, std::string_view reason, Cause cause) {
  if (broken_ || !session_.close(code, reason, *this)) return false;
  blame(cause);
  phase_ = Phase::closing;
  drop_waiting();
  if (shown_) shown_->open = false;
  set_deadline(site_.limits.close_timeout_ms);
  return true;
}

void Connection::show(Shown& shown) {
  shown_ = &shown;
  shown.high_water = high_water();
  shown.backlog = buffered_amount();
}

void Connection::abort(Cause cause) {
  blame(cause);
  session_.interrupt();
  write_failed();
}

void Connection::set_timer(uint32_t id, uint64_t in_ms) {
  if (!told_open_) return;
  if (!timers_) {
    auto timers = std::make_unique<EndpointTimers>();
    loop_->reserve_timers(kTimers);
    timers_ = std::move(timers);
    for (uint32_t i = 0; i < kTimers; i++)
      timers_->all[i].connection = this, timers_->all[i].id = i;
  }
  uint64_t now_ms = monotonic_ms();
  loop_->timers_.set(timers_->all[id], now_ms + std::min(std::max<uint64_t>(in_ms, 1), ~now_ms));
}

void Connection::cancel_timer(uint32_t id) {
  if (timers_) loop_->timers_.cancel(timers_->all[id]);
}

void Connection::run(const std::function<void()>& work, const std::function<void()>& counted) {
  if (phase_ == Phase::gone) return;
  corked(work);
  if (shown_) shown_->backlog = backlog();
  counted();
  settle();
  loop_->note_time(*this);
}

// --- What the loop tells ---

void Connection::loop_start(Loop& loop, MutableBytes early) {
  loop_ = &loop;
  if (!watched_) first_interest();
  counters_ = &loop.counters(site_.number);
  loop.link(*this);
  begin_limits();
  counters_->opened[size_t(mooring())].add();
  counters_->open[size_t(mooring())].add();
  site_.connection_opened(*this);
  corked([&] {
    told_open_ = true;
    endpoint_.on_open(*this);
    take(early);
  });
  if (!watched_ && !loop.watch(*this, interest_)) broken_ = true;
  if (transport_->may_hold_bytes() || held_) loop.read_again(*this);
  settle();
  loop.note_time(*this);
}

void Connection::loop_events(uint32_t events) {
  if (phase_ == Phase::gone) return;
  if (events & EPOLLOUT) write_unsent();
  if (reads()) {
    if (events & ~uint32_t(EPOLLOUT)) read_some();
  } else {
    holds_bytes_ = true;
    if (events & (EPOLLHUP | EPOLLERR)) broken_ = true;  // epoll would not stop telling it
  }
  settle();
  loop_->note_time(*this);
}

void Connection::loop_timer(uint32_t id) {
  if (!told_open_) return;
  corked([&] { endpoint_.on_timer(*this, id); });
  settle();
  loop_->note_time(*this);
}

void Connection::loop_drain(uint16_t code, Cause cause) {
  if (phase_ != Phase::open) return;
  drain_code_ = code;
  blame(cause);
  if (reads()) read_some();  // what has arrived is answered first
  close_if_drained();
  settle();
}

void Connection::loop_stop(uint16_t code) {
  if (phase_ == Phase::gone) return;
  if (phase_ == Phase::open) close(code, "", Cause::stop);
  set_deadline(phase_ == Phase::lingering ? kLingerTimeout_ms : kCloseTimeout_ms);
  settle();
}

void Connection::on_due() {
  if (phase_ != Phase::open) return go();
  look_at_limits();
  settle();
  loop_->note_time(*this);
}

// Gathers what the work sends to this connection into one write.
template <class Work>
void Connection::corked(Work work) {
  loop_->corked_ = this;
  loop_->serves_.store(&endpoint_, std::memory_order_relaxed);
  try {
    work();
  } catch (const std::bad_alloc&) {
    broken_ = true;  // no memory for a message: this connection ends, the others live
  }
  flush_cork();
  loop_->corked_ = nullptr;
}

// --- Reading ---

void Connection::read_some() {
  constexpr int kRounds = 8;  // then the others have their turn
  for (int round = 0; round < kRounds; round++) {
    bool read_on = true;
    if (!held_) {
      IoResult got = transport_->read(loop_->receive_buffer_);
      if (got.kind == IoResult::again) return;
      if (got.kind == IoResult::failed) broken_ = true;
      if (got.kind == IoResult::end) client_ended();
      if (got.kind != IoResult::done) return;
      note_heard(now_ms());
      corked([&] { take(loop_->receive_buffer_.first(got.size)); });
      if (rates_) charge(rates_->bytes, site_.limits.bytes, double(got.size));
      read_on = got.read_on;
    } else if (reads()) {
      corked([&] { take(held_->rest()); });
    }
    if (drain_code_) close_if_drained();
    if (!read_on && !held_) return;
    if (broken_) return;
    holds_bytes_ = !reads();
    if (holds_bytes_) return;
    if (held_) break;
  }
  loop_->read_again(*this);
}

// What the session leaves is kept for the next turn. Received is new, or all that is held.
void Connection::take(MutableBytes received) {
  MutableBytes rest = reads() ? session_.receive(received, *this, kInflatedAtOnce) : received;
  if (rest.empty()) {
    if (held_) held_.reset();
  } else if (!held_) {
    held_ = std::make_unique<Held>();
    held_->bytes.assign(rest.begin(), rest.end());
  } else {
    held_->taken = held_->bytes.size() - rest.size();
  }
}

void Connection::close_if_drained() {
  if (phase_ == Phase::open && !held_ && !session_.in_message()) close(drain_code_, "");
}

// The client will send nothing more. What waits for it is still delivered, as it may only have shut
// down its own direction.
void Connection::client_ended() {
  if (client_ended_) broken_ = true;  // told again: its receiving side is closed too
  client_ended_ = true;
  session_.abandon();
  blame(Cause::client);
  tell_closed(kCloseAbnormal, "", false);
  if (phase_ == Phase::lingering) return go();
  phase_ = Phase::flushing;
  set_deadline(site_.limits.close_timeout_ms);
}

void Connection::on_message(Opcode type, MutableBytes payload) {
  count(Counters::received, type, payload.size());
  if (rates_ && !charge(rates_->messages, site_.limits.messages, 1)) return;
  loop_->current_message_ = payload;
  loop_->current_type_ = type;
  timed([&] { endpoint_.on_message(*this, type, payload); });
  loop_->current_message_ = {};
  interrupt_if_paused();
}

void Connection::on_piece(Opcode type, MutableBytes piece, bool first, bool last) {
  count(Counters::received, type, piece.size(), last);
  if (last && rates_ && !charge(rates_->messages, site_.limits.messages, 1)) return;
  timed([&] { endpoint_.on_piece(*this, type, piece, first, last); });
  interrupt_if_paused();
}

// Now and then measures how long the endpoint takes.
template <class Call>
void Connection::timed(Call call) {
  if (!loop_->measures_callback()) return call();
  uint64_t before_ns = monotonic_ns();
  call();
  counters_->handler.add(monotonic_ns() - before_ns);
}

void Connection::on_ping(Bytes payload) {
  counters_->pings_received.add();
  if (exceeds_control_rate()) return;
  endpoint_.on_ping(*this, payload);
  interrupt_if_paused();
}

void Connection::on_pong(Bytes payload) {
  counters_->pongs_received.add();
  if (exceeds_control_rate() || answers_ping(payload)) return;
  endpoint_.on_pong(*this, payload);
  interrupt_if_paused();
}

void Connection::interrupt_if_paused() {
  if (!reads()) session_.interrupt();
}

void Connection::on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) {
  phase_ = Phase::flushing;
  set_deadline(site_.limits.close_timeout_ms);
  blame(cause_of(broken));
  if (broken != Rule::none && told_open_) endpoint_.on_rule_broken(*this, broken);
  tell_closed(code, reason, clean);
}

DeflateShare& Connection::deflate_share() {
  loop_->deflate_share_.count_in(counters_, monotonic_ns);
  return loop_->deflate_share_;
}

void Connection::tell_closed(uint16_t code, std::string_view reason, bool clean) {
  if (!told_open_) return;
  told_open_ = false;
  endpoint_.on_close(*this, code, reason, clean);
  counters_->closed[code_index(code)].add();
  counters_->causes[size_t(cause_)].add();
  site_.connection_ended(*this, code, reason, clean);
  shown_ = nullptr;
  drop_waiting();
  if (!timers_) return;
  for (auto& timer : timers_->all) loop_->timers_.cancel(timer);
  loop_->release_timers(kTimers);
  timers_.reset();
}

// --- From phase to phase ---

// After each piece of work: takes the steps that it made possible, and tells epoll what to wait
// for.
void Connection::settle() {
  if (phase_ == Phase::gone) return;
  if (shown_) shown_->backlog = backlog();
  if (drained()) tell_drained();
  note_buffered();
  if (drained()) loop_->read_again(*this);  // once more, as that ended a message in fragments
  if (broken_) return go();
  if (phase_ == Phase::flushing && !unsent()) {
    if (!transport_->finish_writing() || client_ended_) return go();
    phase_ = Phase::lingering;
    set_deadline(kLingerTimeout_ms);
  }
  if (shown_) shown_->backlog = backlog();
  uint32_t wanted = wanted_events();
  if (holds_bytes_ && (wanted & EPOLLIN)) {
    holds_bytes_ = false;
    loop_->read_again(*this);
  }
  loop_->set_interest(*this, wanted);
}

void Connection::go() {
  if (phase_ == Phase::gone) return;
  phase_ = Phase::gone;
  session_.abandon();
  blame(Cause::lost);
  tell_closed(cause_ == Cause::memory ? kCloseTryAgainLater : kCloseAbnormal, "", false);
  loop_->count_buffered(*counters_, -ptrdiff_t(std::exchange(buffered_, 0)));
  counters_->open[size_t(mooring())].subtract();
  loop_->timers_.cancel(*this);
  loop_->unlink(*this);
}

void Connection::tell_drained() {
  owes_fragments_ = false;
  owes_drained_ = owes_drained_ && backlog();
  if (told_open_ && session_.may_send() && !broken_) corked([&] { endpoint_.on_drained(*this); });
}

void Connection::set_deadline(uint64_t in_ms) {
  uint64_t due_ms = monotonic_ms() + in_ms;
  if (loop_->stopping_) due_ms = std::min(due_ms, loop_->stop_deadline_ms_);
  loop_->timers_.set(*this, due_ms);
  progress_ = 0;
}

uint32_t Connection::wanted_events() const {
  return (reads() ? uint32_t(EPOLLIN) : 0) | (unsent() ? uint32_t(EPOLLOUT) : 0);
}

// Whoever ends must hear of the client's end.
bool Connection::reads() const {
  if (client_ended_ || broken_) return false;
  if (phase_ >= Phase::flushing) return true;
  return backlog() <= high_water() && (phase_ != Phase::open || !paused_by_);
}

}  // namespace mws
