#include "src/engine/loop.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <new>
#include <random>
#include <system_error>
#include <utility>

#include "src/base/clock.h"

namespace mws {

namespace {

// What epoll's data points to where it is no connection.
alignas(2) char wakeup_tag, descriptor_tag;

// recent_ms() is behind the clock by less than this.
constexpr uint64_t kBehind_ms = 50;

// A source is told from a connection by its lowest bit.
void* tag_of(Source& source) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(&source) | 1);
}

Source* source_of(void* tag) {
  auto bits = reinterpret_cast<uintptr_t>(tag);
  return bits & 1 ? reinterpret_cast<Source*>(bits & ~uintptr_t(1)) : nullptr;
}

// Of a loop whose counters nobody looks at.
class OwnMeters final : public Meters {
 public:
  Counters& counters(unsigned) noexcept override { return counters_; }
  LoopCounters* loop_counters() noexcept override { return nullptr; }

 private:
  Counters counters_;
};

bool tell_epoll(int epoll, int operation, int descriptor, void* tag, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = tag;
  return epoll_ctl(epoll, operation, descriptor, &event) == 0;
}

}  // namespace

Loop::Loop(size_t receive_bytes, std::unique_ptr<Meters> meters, Budget* budget)
    : receive_memory_(new uint8_t[receive_bytes]),
      receive_buffer_(receive_memory_.get(), receive_bytes),
      meters_(meters ? std::move(meters) : std::make_unique<OwnMeters>()),
      budget_(budget) {
  timers_.make_room_for(timers_reserved_);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wakeup_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  // Each write tells anew, so that nobody has to read what was written.
  if (epoll_ < 0 || wakeup_ < 0 ||
      !tell_epoll(epoll_, EPOLL_CTL_ADD, wakeup_, &wakeup_tag, EPOLLIN | EPOLLET)) {
    int error = errno;
    if (epoll_ >= 0) close(epoll_);
    if (wakeup_ >= 0) close(wakeup_);
    throw std::system_error(error, std::generic_category(), "event loop");
  }
  if (budget_) budget_->add(*this);
}

Loop::~Loop() {
  if (budget_) budget_->remove(*this);
  while (first_) first_->go();
  bury();
  close(epoll_);
  close(wakeup_);
}

void Loop::run() {
  serves_many_ = true;
  thread_ = std::this_thread::get_id();
  // Mail that was posted before the quit is delivered: it may bring a connection.
  while (!quit_asked_ || first_ || has_mail()) turn();
}

void Loop::run_while_connected() {
  thread_ = std::this_thread::get_id();
  read_clock();
  spare_buffers_.keep_none();  // one connection is not worth it
  deliver_mail();
  run_deferred();
  while (first_) turn();
}

void Loop::turn() {
  epoll_event events[512];
  serves_.store(nullptr, std::memory_order_relaxed);
  int for_ms = wait_ms();
  int count = epoll_wait(epoll_, events, 512, for_ms && may_sleep() ? for_ms : 0);
  sleeps_.store(false, std::memory_order_relaxed);
  if (!count) read_clock();  // the ticks may have stood still meanwhile
  else recent_ms();
  LoopCounters* measured = ++turns_ & 15 ? nullptr : meters_->loop_counters();
  uint64_t woke_ns = measured ? monotonic_ns() : 0;
  events_ = {events, size_t(std::max(count, 0))};
  for (epoll_event& event : events_) {
    void* tag = event.data.ptr;
    if (tag == &wakeup_tag) continue;  // mail is looked after below
    if (tag == &descriptor_tag) when_readable_();
    else if (Source* source = source_of(tag)) source->on_ready(event.events);
    else if (tag) {
      auto* connection = static_cast<Connection*>(tag);
      if (!connection->loop_) deliver_mail();  // which brings it
      if (event.data.ptr) connection->loop_events(event.events);
    }
  }
  events_ = {};
  if (has_mail_.load(std::memory_order_relaxed)) deliver_mail();
  for (Connection* now = std::exchange(read_again_, nullptr); now;) {
    Connection& connection = *now;
    now = connection.next_to_read_;
    connection.reads_again_ = false;
    connection.loop_events(EPOLLIN);
  }
  if (!timers_.empty() && timers_.next_due_ms() <= recent_ms() + kBehind_ms)
    timers_.run(monotonic_ms());
  begin_stop_if_asked();
  run_deferred();
  bury();
  if (measured) measured->turn.add(monotonic_ns() - woke_ns);
}

void Loop::defer(Deferred& work) {
  if (std::find(deferred_.begin(), deferred_.end(), &work) == deferred_.end())
    deferred_.push_back(&work);
}

void Loop::run_all_deferred() {
  for (Deferred* each : deferred_) each->run_deferred();
  deferred_.clear();
}

int Loop::wait_ms() {
  if (read_again_) return 0;
  if (timers_.empty()) return -1;
  uint64_t now_ms = recent_ms(), due_ms = timers_.next_due_ms();
  if (due_ms > now_ms + 2 * kBehind_ms) now_ms += kBehind_ms;  // and look again then
  else now_ms = monotonic_ms();
  return due_ms <= now_ms ? 0 : int(std::min<uint64_t>(due_ms - now_ms, 3'600'000));
}

// --- From other threads ---

void Loop::any_thread_stop(uint16_t close_code, uint64_t grace_ms) {
  uint64_t asked = uint64_t(close_code) << 32 | std::min<uint64_t>(grace_ms, UINT32_MAX);
  uint64_t before = stop_asked_;
  while (!(before && uint32_t(before) <= uint32_t(asked)) &&
         !stop_asked_.compare_exchange_weak(before, asked)) {
  }
  wake();
}

void Loop::any_thread_drain(uint16_t close_code, uint64_t over_ms) {
  any_thread_post([this, close_code, over_ms] { begin_drain(close_code, over_ms); });
  drain_asked_ = true;
}

void Loop::any_thread_shed() {
  if (sheds_.exchange(true)) return;
  try {
    any_thread_post([this] { shed(); });
  } catch (const std::bad_alloc&) {
    sheds_ = false;  // whoever asks next tries again
  }
}

void Loop::any_thread_quit() {
  quit_asked_ = true;
  wake();
}

bool Loop::when_readable(int descriptor, std::function<void()> call) {
  when_readable_ = std::move(call);
  readable_ = descriptor;
  return tell_epoll(epoll_, EPOLL_CTL_ADD, descriptor, &descriptor_tag, EPOLLIN | EPOLLET);
}

bool Loop::watch(Source& source, int descriptor, uint32_t events) {
  void* tag = tag_of(source);
  return tell_epoll(epoll_, EPOLL_CTL_MOD, descriptor, tag, events) ||
         tell_epoll(epoll_, EPOLL_CTL_ADD, descriptor, tag, events);
}

void Loop::unwatch(Source& source, int descriptor) { unwatch(tag_of(source), descriptor); }

// What the tag points to may be destroyed then: this turn's events do not name it any more.
void Loop::unwatch(void* tag, int descriptor) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
  for (epoll_event& each : events_)
    if (each.data.ptr == tag) each.data.ptr = nullptr;
}

void Loop::set_timer(Timer& timer, uint64_t in_ms) { timers_.set(timer, monotonic_ms() + in_ms); }

bool Loop::must_stop() const {
  pollfd call = {readable_, POLLIN, 0};  // poll passes over a negative descriptor
  return stopping_ || stop_asked_ || poll(&call, 1, 0) > 0;
}

void Loop::await_writable(int descriptor) const {
  constexpr int kLook_ms = 100;
  pollfd awaited[] = {{descriptor, POLLOUT, 0}, {readable_, POLLIN, 0}};
  poll(awaited, 2, kLook_ms);
}

void Loop::begin_stop_if_asked() {
  uint64_t asked = stop_asked_.exchange(0);
  if (!asked) return;
  uint64_t deadline_ms = monotonic_ms() + uint32_t(asked);
  stop_deadline_ms_ = stopping_ ? std::min(stop_deadline_ms_, deadline_ms) : deadline_ms;
  stop_code_ = uint16_t(asked >> 32);
  stopping_ = true;
  timers_.cancel(drain_);
  for (Connection *each = first_, *next; each; each = next) {
    next = each->next_;
    each->loop_stop(stop_code_);
  }
}

// --- Draining ---

void Loop::begin_drain(uint16_t close_code, uint64_t over_ms) {
  if (stopping_ || drain_.close_code) return;
  drain_.close_code = close_code;
  drain_.begin_ms = monotonic_ms();
  drain_.over_ms = over_ms;
  drain_.turns = connections_;
  drain_.next = first_;
  std::minstd_rand random(std::minstd_rand::result_type(reinterpret_cast<uintptr_t>(this) >> 4 ^
                                                        uint64_t(getpid()) << 8 ^ drain_.begin_ms));
  random.discard(8);
  drain_.phase = std::uniform_real_distribution<>()(random);
  drain_.on_due();
}

uint64_t Loop::Drain::due_ms(size_t of_turn) const {
  return begin_ms + uint64_t(double(over_ms) * (double(of_turn) + phase) / double(turns));
}

void Loop::Drain::on_due() {
  uint64_t now_ms = monotonic_ms();
  while (next && turn < turns && due_ms(turn) <= now_ms) {
    Connection& connection = *next;
    next = connection.next_;
    turn++;
    connection.loop_drain(close_code);
  }
  if (next && turn < turns) loop.timers_.set(*this, due_ms(turn));
  else if (now_ms < begin_ms + over_ms) loop.timers_.set(*this, begin_ms + over_ms);
  else loop.any_thread_stop(close_code, Connection::kCloseTimeout_ms);
}

// --- What waits for clients ---

Counters& Loop::counters(unsigned site) {
  if (site >= counters_.size()) counters_.resize(site + 1);
  if (!counters_[site]) counters_[site] = &meters_->counters(site);
  return *counters_[site];
}

void Loop::count_buffered(Counters& counters, ptrdiff_t bytes) {
  if (!bytes) return;
  counters.buffered_bytes.add(uint64_t(bytes));
  buffered_.store(buffered_ + size_t(bytes), std::memory_order_relaxed);
  if (budget_) budget_->change(bytes);
}

void Loop::shed() {
  sheds_ = false;
  std::vector<std::pair<size_t, Connection*>>
      waiting;  // they stay where they are until the turn ends
  try {
    each_connection([&](Connection& each) {
      if (each.buffered_) waiting.emplace_back(each.buffered_, &each);
    });
  } catch (const std::bad_alloc&) {
    // Those that were found will do.
  }
  std::sort(waiting.begin(), waiting.end(), std::greater<>());
  for (auto [bytes, connection] : waiting) {
    if (!budget_->is_exceeded()) return;
    connection->go_for_memory();
  }
}

// --- Connections ---

void Loop::link(Connection& connection) {
  connection.next_ = first_;
  if (first_) first_->previous_ = &connection;
  first_ = &connection;
}

void Loop::unlink(Connection& connection) {
  (connection.previous_ ? connection.previous_->next_ : first_) = connection.next_;
  if (connection.next_) connection.next_->previous_ = connection.previous_;
  connections_--;
  release_timers(1);
  if (drain_.next == &connection) drain_.next = connection.next_;
  if (connection.reads_again_) {
    Connection** at = &read_again_;
    while (*at && *at != &connection) at = &(*at)->next_to_read_;
    if (*at) *at = connection.next_to_read_;
  }
  // Events of this turn may still name it, and whoever called may be about to use it.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, connection.descriptor_, nullptr);
  connection.next_ = graveyard_;
  graveyard_ = &connection;
}

void Loop::bury() {
  while (graveyard_) {
    std::unique_ptr<Connection> dead(graveyard_);
    graveyard_ = dead->next_;
  }
}

void Loop::reserve_timers(size_t timers) {
  timers_.make_room_for(timers_reserved_ + timers);
  timers_reserved_ += timers;
}

uint64_t Loop::read_clock() {
  since_noted_.begin();
  uint64_t now_ms = coarse_ms();
  noted_ms_.store(now_ms, std::memory_order_relaxed);
  return now_ms;
}

// The time that was noted, if it is not long ago.
uint64_t Loop::recent_ms() {
  return since_noted_.is_short() ? noted_ms_.load(std::memory_order_relaxed) : read_clock();
}

// Tells who kept the loop for too long. On a loop of its own a connection keeps nobody else.
void Loop::note_long_time(Connection& connection) {
  uint64_t before_ms = noted_ms_, took_ms = read_clock() - before_ms;
  if (serves_many_ && took_ms > kSlow_ms) connection.endpoint_.on_slow(took_ms, false);
}

void Loop::any_thread_tell_if_held_up() {
  Endpoint* endpoint = serves_;
  uint64_t now_ms = coarse_ms(), since_ms = noted_ms_;
  if (endpoint && now_ms > since_ms + kSlow_ms) endpoint->on_slow(now_ms - since_ms, true);
}

bool Loop::watch(Connection& connection, uint32_t events) {
  return tell_epoll(epoll_, EPOLL_CTL_ADD, connection.descriptor_, &connection, events);
}

void Loop::set_interest(Connection& connection, uint32_t events) {
  if (connection.interest_ == events) return;
  connection.interest_ = events;
  tell_epoll(epoll_, EPOLL_CTL_MOD, connection.descriptor_, &connection, events);
}

void Loop::read_again(Connection& connection) {
  if (connection.reads_again_) return;
  connection.reads_again_ = true;
  connection.next_to_read_ = std::exchange(read_again_, &connection);
}

}  // namespace mws
