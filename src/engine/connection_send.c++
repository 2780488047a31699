// The half of a connection that sends.
#include <algorithm>
#include <new>

#include "src/base/clock.h"
#include "src/engine/connection.h"
#include "src/engine/loop.h"
#include "src/protocol/close_code.h"

namespace mws {

SendResult Connection::send(Opcode type, Bytes payload, bool may_compress) {
  if (is_dropped()) return SendResult::dropped;
  return guarded_send([&] {
    if (session_.in_fragments())
      return send_later(std::make_shared<PreparedMessage>(type, payload, may_compress));
    if (!session_.send(type, payload, *this, may_compress)) return false;
    count(Counters::sent, type, payload.size());
    return true;
  });
}

SendResult Connection::send(const std::shared_ptr<const PreparedMessage>& message, bool may_drop) {
  if (may_drop && is_dropped()) return SendResult::dropped;
  return guarded_send([&] {
    if (session_.in_fragments()) return send_later(message);
    loop_->sent_message_ = &message;
    bool sent = session_.send(*message, *this);
    loop_->sent_message_ = nullptr;
    if (sent) count(Counters::sent, message->type(), message->payload().size());
    return sent;
  });
}

SendResult Connection::send_fragment(Opcode type, Bytes payload, bool last) {
  if (drops_fragments_ || (!session_.in_fragments() && is_dropped())) {
    drops_fragments_ = !last;
    return SendResult::dropped;
  }
  return guarded_send(
      [&] {
        if (!session_.send_fragment(type, payload, last, *this)) return false;
        count(Counters::sent, type, payload.size(), last);
        if (last && rare_ && rare_->waiting) send_waiting();
        return true;
      },
      true);
}

SendResult Connection::ping(Bytes payload) {
  return guarded_send([&] {
    bool sent = session_.ping(payload, *this);
    if (sent) counters_->pings_sent.add();
    return sent;
  });
}

SendResult Connection::pong(Bytes payload) {
  return guarded_send([&] { return session_.pong(payload, *this); });
}

// False where the session refuses to send.
template <class Send>
SendResult Connection::guarded_send(Send send, bool fragment) {
  bool was_slow = site_.limits.slow == ConnectionLimits::Slow::close && backlog() > high_water();
  try {
    if (broken_ || !send()) return SendResult::closed;
  } catch (const std::bad_alloc&) {  // while compressing; what follows might refer to this message
    write_failed();
  }
  if (broken_) return SendResult::closed;
  size_t waits = fragment ? unsent() : backlog();
  if (!waits) return SendResult::sent;
  owe_drained(fragment);
  if (waits <= high_water()) return SendResult::queued;
  // What made it slow was sent before: a single message may be longer than the buffer.
  if (was_slow && close(kClosePolicy, "reads too slowly", Cause::slow))
    site_.limit_reached(*this, Cause::slow);
  return SendResult::high_water;
}

// A message on top of what waits already, where the site drops those.
bool Connection::is_dropped() {
  if (site_.limits.slow != ConnectionLimits::Slow::drop || backlog() <= high_water() ||
      !session_.may_send())
    return false;
  counters_->dropped.add();
  site_.limit_reached(*this, Cause::slow);
  return true;
}

// Between the fragments of one message no other may go (§5.4).
bool Connection::send_later(std::shared_ptr<const PreparedMessage> message) {
  if (!session_.may_send()) return false;
  auto& waiting = make_rare().waiting;
  if (!waiting) waiting = std::make_unique<Waiting>();
  size_t bytes = message->payload().size();
  waiting->messages.push_back(std::move(message));
  waiting->bytes += bytes;
  return true;
}

void Connection::send_waiting() {
  auto waiting = std::move(rare_->waiting);
  for (const Owner& message : waiting->messages) send(message, false);
}

// The message that they wait for will not be finished.
void Connection::drop_waiting() {
  if (rare_) auto dropped = std::move(rare_->waiting);
}

size_t Connection::buffered_amount() const {
  return backlog() + (loop_->corked_ == this ? loop_->cork_.bytes() : 0);
}

void Connection::flush() {
  if (loop_->corked_ == this) flush_cork();
  write_unsent();
}

bool Connection::make_room() {
  flush();
  uint64_t progressed_ms = monotonic_ms();
  while (!broken_ && unsent() > high_water()) {
    if (loop_->must_stop()) return false;
    if (loop_->must_drain() && monotonic_ms() - progressed_ms > site_.limits.close_timeout_ms)
      return false;
    loop_->await_writable(descriptor_);
    size_t before = unsent();
    write_unsent();
    if (unsent() < before) progressed_ms = monotonic_ms();
  }
  return !broken_;
}

void Connection::flush_cork() {
  Cork& cork = loop_->cork_;
  if (cork.bytes()) write(cork.pieces());
  cork.clear();
}

void Connection::transmit(Bytes header, Bytes payload) {
  if (broken_) return;
  if (!queues() && loop_->corked_ == this) {
    // The client's own header in front of its message was longer.
    if (!loop_->cork_.bytes() && loop_->is_received_message(payload))
      return loop_->cork_.begin_in_place(header, payload);
    if (loop_->cork_.add(header, payload, loop_->is_received(payload))) return;
    flush_cork();
    if (!queues() && !broken_ && loop_->cork_.add(header, payload, loop_->is_received(payload)))
      return;
  }
  write_or_queue(header, payload);
}

void Connection::transmit_lasting(Bytes header, Bytes payload) {
  if (payload.size() < Cork::kReferFrom || !loop_->sent_message_) return transmit(header, payload);
  if (loop_->corked_ == this) flush_cork();
  if (!broken_) write_or_queue(header, payload, *loop_->sent_message_);
}

void Connection::write_or_queue(Bytes header, Bytes payload, const Owner& owner) {
  if (queues()) {
    enqueue(header);
    enqueue(payload, owner);
    return;
  }
  iovec pieces[] = {{const_cast<uint8_t*>(header.data()), header.size()},
                    {const_cast<uint8_t*>(payload.data()), payload.size()}};
  write({pieces, payload.empty() ? 1u : 2u}, owner);
  if (loop_->corked_ != this && unsent()) loop_->set_interest(*this, wanted_events());
}

// Queues what does not go at once. Only while the queue is empty. The owner is that of the last of
// several pieces.
void Connection::write(std::span<const iovec> pieces, const Owner& owner) {
  IoResult result = write_now(pieces);
  if (result.kind == IoResult::failed) return write_failed();
  size_t taken = result.kind == IoResult::done ? result.size : 0;
  for (const iovec& piece : pieces) {
    Bytes bytes(static_cast<const uint8_t*>(piece.iov_base), piece.iov_len);
    size_t skip = std::min(taken, bytes.size());
    taken -= skip;
    if (skip == bytes.size()) continue;
    enqueue(bytes.subspan(skip), &piece != &pieces[0] ? owner : Owner());
  }
  if (!unsent()) return;
  owes_drained_ = true;
  owes_fragments_ |= session_.in_fragments();
}

void Connection::enqueue(Bytes bytes, Owner owner) {
  if (broken_) return;
  try {
    auto& queue = make_rare().queue;
    if (!queue) queue = std::make_unique<SendQueue>();
    if (!owner && bytes.size() >= SpareBuffers::kLong && loop_->gathered_.may_own(bytes)) {
      bool counts = !loop_->gathered_.is_owned();  // once, with all of its memory
      auto message = loop_->gathered_.own(loop_->spare_buffers_);
      queue->append(bytes, message, counts ? message->capacity() : bytes.size());
    } else {
      queue->append(bytes, std::move(owner));
    }
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
    SendQueue* queue = queues() ? rare_->queue.get() : nullptr;
    IoResult result = write_now(queue ? queue->front() : std::span<const iovec>());
    if (result.kind == IoResult::failed) broken_ = true;
    if (result.kind != IoResult::done) return;
    if (queue) queue->pop(result.size);
    if (queue && queue->empty()) rare_->queue.reset();
    size_t after = unsent();
    if (after < before) progress_ += uint32_t(before - after);
    note_heard(now_ms());
    bool ending = phase_ == Phase::closing || phase_ == Phase::flushing;
    if (ending && (progress_ >= kProgress || !after)) set_deadline(site_.limits.close_timeout_ms);
  }
}

}  // namespace mws
