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
                       const SessionSettings& settings, Ref<Attachment> attachment,
                       const Site& site)
    : is_socket_(transport->is_socket()),
      reads_all_(transport->reads_all()),
      descriptor_(transport->descriptor()),
      endpoint_(endpoint),
      attachment_(std::move(attachment)),
      site_(site),
      session_(settings),
      transport_(std::move(transport)) {
  if (site.limits.messages.per_s || site.limits.bytes.per_s)
    make_rare().rates = std::make_unique<Rates>();
}

Connection::~Connection() = default;

Connection::Rare& Connection::make_rare() {
  if (!rare_) rare_ = std::make_unique<Rare>();
  return *rare_;
}

void Connection::keep(uint64_t id, std::unique_ptr<Record> record) {
  id_ = id;
  if (record) make_rare().record = std::move(record);
}

// --- What the endpoint asks for, but sending ---

bool Connection::close(uint16_t code, std::string_view reason, Cause cause) {
  if (broken_ || !session_.close(code, reason, *this)) return false;
  blame(cause);
  phase_ = Phase::closing;
  drop_waiting();
  if (shown()) shown()->open = false;
  set_deadline(site_.limits.close_timeout_ms);
  return true;
}

void Connection::show(Shown* shown) {
  make_rare().shown = shown;
  if (!shown) return;
  shown->high_water = high_water();
  shown->backlog = buffered_amount();
}

void Connection::abort(Cause cause) {
  blame(cause);
  session_.interrupt();
  write_failed();
}

void Connection::set_timer(uint32_t id, uint64_t in_ms) {
  if (!told_open_) return;
  auto& timers = make_rare().timers;
  if (!timers) {
    auto made = std::make_unique<EndpointTimers>();
    loop_->reserve_timers(kTimers);
    timers = std::move(made);
    for (uint32_t i = 0; i < kTimers; i++) timers->all[i].connection = this, timers->all[i].id = i;
  }
  uint64_t now_ms = monotonic_ms();
  loop_->timers_.set(timers->all[id], now_ms + std::min(std::max<uint64_t>(in_ms, 1), ~now_ms));
}

void Connection::cancel_timer(uint32_t id) {
  if (rare_ && rare_->timers) loop_->timers_.cancel(rare_->timers->all[id]);
}

void Connection::run(const std::function<void()>& work, const std::function<void()>& counted) {
  if (phase_ == Phase::gone) return;
  corked(work);
  show_backlog();
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
  if (transport_->may_hold_bytes() || holds()) loop.read_again(*this);
  settle();
  loop.note_time(*this);
}

void Connection::loop_events(uint32_t events) {
  if (phase_ == Phase::gone) return;
  if (events & EPOLLOUT) write_unsent();
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) reads_to_end_ = true;
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

// Where epoll tells only of what is new, all is read that was there: behind urgent data (TCP's) and
// up to the client's end, once it has told of these. A long message is read in a row as far as that
// goes, so that its memory is still in the processor's cache when it is whole.
void Connection::read_some() {
  constexpr int kRounds = 8;  // or a megabyte; then the others have their turn
  constexpr size_t kBytes = 1024 * 1024;
  MutableBytes buffer = loop_->receive_buffer_;
  size_t size = 0;
  for (int round = 0; round < kRounds && size < kBytes; round++) {
    bool read_on = true;
    if (!holds()) {
      MutableBytes room = session_.in_message() ? session_room() : MutableBytes();
      MutableBytes into = room.empty() ? buffer : room;
      IoResult got = read(into);
      if (got.kind == IoResult::again) return;
      if (got.kind == IoResult::failed) broken_ = true;
      if (got.kind == IoResult::end) client_ended();
      if (got.kind != IoResult::done) return;
      note_heard(now_ms());
      corked([&] { take(into.first(got.size)); });
      if (rare_ && rare_->rates) charge(rare_->rates->bytes, site_.limits.bytes, double(got.size));
      size += got.size;
      read_on = got.read_on || reads_to_end_;
    } else if (reads()) {
      corked([&] { take(rare_->held->rest()); });
    }
    if (drain_code_) close_if_drained();
    if (!read_on && !holds()) return;
    if (broken_) return;
    holds_bytes_ = !reads();
    if (holds_bytes_) return;
    if (holds()) break;
  }
  loop_->read_again(*this);
}

// What the session leaves is kept for the next turn. Received is new, or all that is held.
void Connection::take(MutableBytes received) {
  MutableBytes rest = reads() ? session_.receive(received, *this, kInflatedAtOnce) : received;
  if (rest.empty()) {
    if (holds()) rare_->held.reset();
    return;
  }
  auto& held = make_rare().held;
  if (!held) {
    held = std::make_unique<Held>();
    held->bytes.assign(rest.begin(), rest.end());
  } else {
    held->taken = held->bytes.size() - rest.size();
  }
}

void Connection::close_if_drained() {
  if (phase_ == Phase::open && !holds() && !session_.in_message()) close(drain_code_, "");
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
  if (rare_ && !charge_message()) return;
  loop_->current_message_ = payload;
  loop_->current_type_ = type;
  timed([&] { endpoint_.on_message(*this, type, payload); });
  loop_->current_message_ = {};
  interrupt_if_paused();
}

void Connection::on_piece(Opcode type, MutableBytes piece, bool first, bool last) {
  count(Counters::received, type, piece.size(), last);
  if (last && rare_ && !charge_message()) return;
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
  if (rare_) rare_->shown = nullptr;
  drop_waiting();
  if (!rare_ || !rare_->timers) return;
  for (auto& timer : rare_->timers->all) loop_->timers_.cancel(timer);
  loop_->release_timers(kTimers);
  rare_->timers.reset();
}

// --- From phase to phase ---

// After each piece of work: takes the steps that it made possible, and tells epoll what to wait
// for.
void Connection::settle() {
  if (phase_ == Phase::gone) return;
  show_backlog();
  if (drained()) tell_drained();
  note_buffered();
  if (drained()) loop_->read_again(*this);  // once more, as that ended a message in fragments
  if (rare_ && rare_->empty()) rare_.reset();
  if (broken_) return go();
  if (phase_ == Phase::flushing && !unsent()) {
    if (!transport_->finish_writing() || client_ended_) return go();
    phase_ = Phase::lingering;
    set_deadline(kLingerTimeout_ms);
  }
  show_backlog();
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
  uint32_t reading = reads() ? uint32_t(EPOLLIN) : 0;
  if (unsent()) return reading | EPOLLOUT;
  return reading && reads_all_ ? EPOLLIN | EPOLLRDHUP | EPOLLPRI | uint32_t(EPOLLET) : reading;
}

// Whoever ends must hear of the client's end.
bool Connection::reads() const {
  if (client_ended_ || broken_) return false;
  if (phase_ >= Phase::flushing) return true;
  return backlog() <= high_water() && (phase_ != Phase::open || !paused_by_);
}

}  // namespace mws
