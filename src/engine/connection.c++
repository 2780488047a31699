#include "src/engine/connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <new>

#include "src/base/clock.h"
#include "src/engine/loop.h"
#include "src/protocol/close_code.h"

namespace mws {

Connection::Connection(std::unique_ptr<Transport> transport, Endpoint& endpoint,
                       uint64_t max_message_bytes, std::unique_ptr<Attachment> attachment,
                       const DeflateParameters& deflate)
    : session_(max_message_bytes, deflate),
      transport_(std::move(transport)),
      endpoint_(endpoint),
      attachment_(std::move(attachment)) {}

Connection::~Connection() = default;

// --- What handlers ask for ---

SendResult Connection::send(Opcode type, Bytes payload, bool may_compress) {
  return guarded_send([&] { return session_.send(type, payload, *this, may_compress); });
}

SendResult Connection::send(const PreparedMessage& message) {
  return guarded_send([&] { return session_.send(message, *this); });
}

template <class Send>
SendResult Connection::guarded_send(Send send) {
  try {
    if (!send()) return SendResult::closed;
  } catch (const std::bad_alloc&) {  // while compressing; what follows might refer to this message
    write_failed();
  }
  if (broken_) return SendResult::closed;
  if (!unsent()) return SendResult::sent;
  return unsent() > kHighWater ? SendResult::high_water : SendResult::queued;
}

bool Connection::close(uint16_t code, std::string_view reason) {
  if (!session_.close(code, reason, *this)) return false;
  phase_ = Phase::closing;
  set_deadline(kCloseTimeout_ms);
  return true;
}

size_t Connection::buffered_amount() const {
  return unsent() + (loop_->corked_ == this ? loop_->cork_.bytes() : 0);
}

size_t Connection::unsent() const { return (queue_ ? queue_->size() : 0) + transport_->unsent(); }

// --- What the loop tells ---

void Connection::loop_start(Loop& loop, MutableBytes early) {
  loop_ = &loop;
  interest_ = EPOLLIN;
  loop.link(*this);
  corked([&] {
    told_open_ = true;
    endpoint_.on_open(*this);
    take(early);
  });
  if (!loop.watch(*this, interest_)) broken_ = true;
  if (transport_->may_hold_bytes() || !held_.empty()) loop.read_again(*this);
  settle();
}

void Connection::loop_events(uint32_t events) {
  if (phase_ == Phase::gone) return;
  if (events & EPOLLOUT) write_unsent();
  if (events & ~uint32_t(EPOLLOUT)) read_some();
  settle();
}

void Connection::loop_drain(uint16_t code) {
  if (phase_ != Phase::open) return;
  drain_code_ = code;
  if (wanted_events() & EPOLLIN) read_some();  // what has arrived is answered first
  close_if_drained();
  settle();
}

void Connection::loop_stop(uint16_t code) {
  if (phase_ == Phase::gone) return;
  if (phase_ == Phase::open) close(code, "");
  set_deadline(phase_ == Phase::lingering ? kLingerTimeout_ms : kCloseTimeout_ms);
  settle();
}

void Connection::on_due() { go(); }

// --- Reading ---

void Connection::read_some() {
  constexpr int kRounds = 8;  // then the others have their turn
  for (int round = 0; round < kRounds; round++) {
    bool read_on = true;
    if (held_.empty()) {
      IoResult got = transport_->read(loop_->receive_buffer_);
      if (got.kind == IoResult::again) return;
      if (got.kind == IoResult::failed) broken_ = true;
      if (got.kind == IoResult::end) client_ended();
      if (got.kind != IoResult::done) return;
      corked([&] { take(loop_->receive_buffer_.first(got.size)); });
      read_on = got.read_on;
    } else if (wanted_events() & EPOLLIN) {
      corked([&] { take(held_); });
    }
    if (drain_code_) close_if_drained();
    if (!read_on && held_.empty()) return;
    if (broken_) return;
    holds_bytes_ = !(wanted_events() & EPOLLIN);
    if (holds_bytes_) return;
    if (!held_.empty()) break;
  }
  loop_->read_again(*this);
}

// What the session leaves is kept for the next turn.
void Connection::take(MutableBytes received) {
  MutableBytes rest = session_.receive(received, *this, kInflatedAtOnce);
  held_ = std::vector<uint8_t>(rest.begin(), rest.end());
}

void Connection::close_if_drained() {
  if (phase_ == Phase::open && held_.empty() && !session_.in_message()) close(drain_code_, "");
}

// The client will send nothing more. What waits for it is still delivered, as it may only have shut
// down its own direction.
void Connection::client_ended() {
  if (client_ended_) broken_ = true;  // told again: its receiving side is closed too
  client_ended_ = true;
  session_.abandon();
  tell_closed(kCloseAbnormal, "", false);
  if (phase_ == Phase::lingering) return go();
  phase_ = Phase::flushing;
  set_deadline(kCloseTimeout_ms);
}

void Connection::on_message(Opcode type, MutableBytes payload) {
  loop_->current_message_ = payload;
  loop_->current_type_ = type;
  endpoint_.on_message(*this, type, payload);
  loop_->current_message_ = {};
}

void Connection::on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) {
  phase_ = Phase::flushing;
  set_deadline(kCloseTimeout_ms);
  if (broken != Rule::none && told_open_) endpoint_.on_rule_broken(*this, broken);
  tell_closed(code, reason, clean);
}

DeflateShare& Connection::deflate_share() { return loop_->deflate_share_; }

void Connection::tell_closed(uint16_t code, std::string_view reason, bool clean) {
  if (!told_open_) return;
  told_open_ = false;
  endpoint_.on_close(*this, code, reason, clean);
}

// --- Writing ---

// Gathers what the work sends to this connection into one write.
template <class Work>
void Connection::corked(Work work) {
  loop_->corked_ = this;
  try {
    work();
  } catch (const std::bad_alloc&) {
    broken_ = true;  // no memory for a message: this connection ends, the others live
  }
  flush_cork();
  loop_->corked_ = nullptr;
}

void Connection::flush_cork() {
  Cork& cork = loop_->cork_;
  if (cork.bytes()) write(cork.pieces());
  cork.clear();
}

void Connection::transmit(Bytes header, Bytes payload) {
  if (broken_) return;
  if (queue_) {
    enqueue(header);
    enqueue(payload);
    return;
  }
  if (loop_->corked_ == this) {
    if (loop_->cork_.add(header, payload, loop_->is_received(payload))) return;
    flush_cork();
    if (queue_ || broken_) return transmit(header, payload);
    if (loop_->cork_.add(header, payload, loop_->is_received(payload))) return;
  }
  iovec pieces[] = {{const_cast<uint8_t*>(header.data()), header.size()},
                    {const_cast<uint8_t*>(payload.data()), payload.size()}};
  write({pieces, payload.empty() ? 1u : 2u});
  if (loop_->corked_ != this && unsent()) loop_->set_interest(*this, wanted_events());
}

// Queues what does not go at once. Only while the queue is empty.
void Connection::write(std::span<const iovec> pieces) {
  IoResult result = transport_->write(pieces);
  if (result.kind == IoResult::failed) return write_failed();
  size_t taken = result.kind == IoResult::done ? result.size : 0;
  for (const iovec& piece : pieces) {
    Bytes bytes(static_cast<const uint8_t*>(piece.iov_base), piece.iov_len);
    size_t skip = std::min(taken, bytes.size());
    taken -= skip;
    if (skip == bytes.size()) continue;
    enqueue(bytes.subspan(skip));
  }
}

void Connection::enqueue(Bytes bytes) {
  if (broken_) return;
  try {
    if (!queue_) queue_ = std::make_unique<SendQueue>();
    queue_->append(bytes);
  } catch (const std::bad_alloc&) {
    write_failed();
  }
}

// The connection ends outside of whatever called.
void Connection::write_failed() {
  broken_ = true;
  loop_->read_again(*this);
}

void Connection::write_unsent() {
  while (size_t before = unsent()) {
    IoResult result = transport_->write(queue_ ? queue_->front() : std::span<const iovec>());
    if (result.kind == IoResult::failed) broken_ = true;
    if (result.kind != IoResult::done) return;
    if (queue_) queue_->pop(result.size);
    if (queue_ && queue_->empty()) queue_.reset();
    size_t after = unsent();
    if (after < before) progress_ += uint32_t(before - after);
    bool ending = phase_ == Phase::closing || phase_ == Phase::flushing;
    if (ending && (progress_ >= kProgress || !after)) set_deadline(kCloseTimeout_ms);
  }
}

// --- From phase to phase ---

// After each piece of work: takes the steps that it made possible, and tells epoll what to wait
// for.
void Connection::settle() {
  if (phase_ == Phase::gone) return;
  if (broken_) return go();
  if (phase_ == Phase::flushing && !unsent()) {
    if (!transport_->finish_writing() || client_ended_) return go();
    phase_ = Phase::lingering;
    set_deadline(kLingerTimeout_ms);
  }
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
  tell_closed(kCloseAbnormal, "", false);
  loop_->timers_.cancel(*this);
  loop_->unlink(*this);
}

void Connection::set_deadline(uint64_t in_ms) {
  uint64_t due_ms = monotonic_ms() + in_ms;
  if (loop_->stopping_) due_ms = std::min(due_ms, loop_->stop_deadline_ms_);
  loop_->timers_.set(*this, due_ms);
  progress_ = 0;
}

uint32_t Connection::wanted_events() const {
  bool reads = !client_ended_ && (phase_ >= Phase::flushing || unsent() <= kHighWater);
  return (reads ? uint32_t(EPOLLIN) : 0) | (unsent() ? uint32_t(EPOLLOUT) : 0);
}

}  // namespace mws
