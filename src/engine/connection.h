// One WebSocket after its opening handshake: a session on a transport, with what could not be
// written yet and the deadline of its closing. It belongs to one loop for life, and only that
// loop's thread touches it; it is made elsewhere and handed over by Loop::any_thread_adopt.
//
// Life: open, then closing (a close frame went out, the client's is awaited), then flushing (the
// session has ended, its last bytes have not left), then lingering (the client has been told that
// no more comes, its own end is awaited), then gone. Each step has a deadline.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/ref.h"
#include "src/engine/rate.h"
#include "src/engine/send_queue.h"
#include "src/engine/site.h"
#include "src/engine/socket_transport.h"
#include "src/engine/timers.h"
#include "src/engine/transport.h"
#include "src/protocol/session.h"

namespace mws {

class Connection;
class Loop;

// Who gets a connection's events, on its loop's thread. One may serve many connections; it outlives
// them. on_close comes exactly once for every on_open, and is the last.
class Endpoint {
 public:
  virtual void on_open(Connection& connection) noexcept = 0;
  // False where nobody waits for what on_open does: it may come a moment later then, but before all
  // else. Any thread.
  virtual bool acts_on_open() const noexcept { return true; }
  // The payload lives until the call returns; so it does in the next three.
  virtual void on_message(Connection& connection, Opcode type, Bytes payload) noexcept = 0;
  // Instead of on_message where the session's settings say that messages stream.
  virtual void on_piece(Connection&, Opcode, Bytes, bool /*first*/, bool /*last*/) noexcept {}
  virtual void on_ping(Connection&, Bytes) noexcept {}
  virtual void on_pong(Connection&, Bytes) noexcept {}
  // Something had to wait to be sent, and nothing does any more.
  virtual void on_drained(Connection&) noexcept {}
  virtual void on_timer(Connection&, uint32_t /*id*/) noexcept {}
  // What was done in a row for one connection kept the loop, and all others on it, for so long;
  // still: it is not done. Any thread.
  virtual void on_slow(uint64_t /*ms*/, bool /*still*/) noexcept {}
  // The client broke a rule of the protocol and was told so; on_close follows.
  virtual void on_rule_broken(Connection&, Rule) noexcept {}
  // Clean: the closing handshake was completed; code and reason are the client's. Otherwise
  // kCloseAbnormal, or what the client was told when it broke a rule of the protocol.
  virtual void on_close(Connection& connection, uint16_t code, std::string_view reason,
                        bool clean) noexcept = 0;

 protected:
  ~Endpoint() = default;
};

// What an endpoint keeps with a connection, which lets go of it at its own end.
class Attachment : public Counted {};

enum class SendResult {
  sent,        // the kernel has it, or will when the read being dispatched is done
  queued,      // it waits for the client to read
  high_water,  // as queued, and more than the high water waits: send no more for now
  dropped,     // not sent: more than that waits, and the site drops what comes on top
  closed,      // nothing was sent: the connection is closing or gone
};

class Connection final : private Session::Host, private Timer {
 public:
  // For the client's close frame, once the loop drains or stops.
  static constexpr uint64_t kCloseTimeout_ms = 5000;
  static constexpr size_t kHighWater = ConnectionLimits().high_water;  // bytes, where none is set
  static constexpr uint64_t kLingerTimeout_ms = 2000;  // for the client's end of stream
  // So much of what a client sent compressed is inflated in a row, and what is left of the message
  // with which it is reached; then the others have their turn, and what waits to be sent counts.
  static constexpr uint32_t kInflatedAtOnce = 256 * 1024;  // bytes
  // A client that reads as much of what waits gets the time for closing anew.
  static constexpr size_t kProgress = 16 * 1024;  // bytes

  static constexpr size_t kTimers = 8;

  Connection(std::unique_ptr<Transport> transport, Endpoint& endpoint,
             const SessionSettings& settings, Ref<Attachment> attachment,
             const Site& site = Site::unlimited());
  ~Connection();
  // What the site's owner keeps with it. Before a loop has it.
  void keep(uint64_t id, std::unique_ptr<Record> record);

  // may_compress: where the client has agreed to it and it is worth it.
  SendResult send(Opcode type, Bytes payload, bool may_compress = true);
  // By reference where the payload is long. may_drop: where the site drops what is too much.
  SendResult send(const std::shared_ptr<const PreparedMessage>& message, bool may_drop = true);
  // See Session::send_fragment. Messages that are sent before the last one went out wait for it.
  SendResult send_fragment(Opcode type, Bytes payload, bool last);
  // At most kMaxControlPayload bytes.
  SendResult ping(Bytes payload);
  SendResult pong(Bytes payload);
  // Starts the closing handshake; on_close follows. See Session::close for what is allowed.
  bool close(uint16_t code, std::string_view reason, Cause cause = Cause::handler);
  // Ends the connection as if it had broken; on_close follows, from outside of this call.
  void abort(Cause cause = Cause::handler);
  // Bytes that were sent but that the kernel did not take yet.
  size_t buffered_amount() const;
  // Inside of an event that may go on for long: lets what was sent leave now, as far as that goes
  // without waiting.
  void flush();
  // Inside of an event that may block, on a loop of its own: waits until no more than the high
  // water is left to be sent. False if that cannot be awaited: the connection has broken, the loop
  // has to stop, or it drains and the client has read nothing for kCloseTimeout_ms.
  bool make_room();
  // What other threads may see, from now until on_close. It outlives that.
  struct Shown {
    size_t high_water = 0;
    std::atomic<size_t> backlog = 0;  // what buffered_amount() was at the end of the last event
    std::atomic<bool> open = true;    // until a close frame goes out
  };
  void show(Shown* shown);  // nullptr: nothing; throws std::bad_alloc
  // on_drained will be called if nothing waits when this work is done, or once that is so. To who
  // sends fragments, the messages that wait for the last one do not count.
  void owe_drained(bool to_fragments = false) {
    (to_fragments ? owes_fragments_ : owes_drained_) = true;
  }

  // Who has a reason not to read this client while it is open. What has been read already waits.
  enum Pauser : uint8_t { by_endpoint = 1, by_host = 2, by_rate = 4 };
  void pause(Pauser pauser) { paused_by_ |= pauser; }
  void resume(Pauser pauser) { paused_by_ &= uint8_t(~pauser); }

  // Calls on_timer, once, instead of what was set for this id before; ids are below kTimers. After
  // on_close nothing happens. Throws std::bad_alloc.
  void set_timer(uint32_t id, uint64_t in_ms);
  void cancel_timer(uint32_t id);

  // Work for this connection that none of its events brought: what it sends leaves in one write,
  // and what it changes takes effect. counted is called when what waits of that is shown, and
  // before on_drained.
  void run(
      const std::function<void()>& work, const std::function<void()>& counted = [] {});

  Attachment* attachment() const { return attachment_.get(); }
  Loop& loop() const { return *loop_; }

  // While more waits to be sent, the client is not read: it feels TCP's own backpressure.
  size_t high_water() const { return site_.limits.high_water; }  // bytes
  const Site& site() const { return site_; }
  uint64_t id() const { return id_; }
  Record* record() const { return rare_ ? rare_->record.get() : nullptr; }
  Mooring mooring() const { return transport_->mooring(); }
  struct Totals {
    uint64_t bytes[2] = {};     // [Counters::Direction], of payload, inflated
    uint32_t messages[2] = {};  // likewise; they begin again at 2^32
    uint32_t most_buffered = 0;
    uint32_t round_trip_us = 0;  // the latest; 0: none was measured
  };
  const Totals& totals() const { return totals_; }
  uint64_t age_ms() const;
  Cause cause() const { return cause_; }  // from its end on

 private:
  friend class Loop;
  struct EndpointTimers;
  enum class Phase : uint8_t { open, closing, flushing, lingering, gone };

  // From the loop, before it has it.
  bool may_start_late() const {
    return !record() && !endpoint_.acts_on_open() && !transport_->may_hold_bytes();
  }
  uint32_t first_interest() { return interest_ = wanted_events(); }

  // From the loop.
  void loop_start(Loop& loop, MutableBytes early);
  void loop_events(uint32_t events);
  void loop_timer(uint32_t id);
  void loop_drain(uint16_t code, Cause cause = Cause::drain);
  void loop_stop(uint16_t code);

  template <class Send>
  SendResult guarded_send(Send send, bool fragment = false);
  bool is_dropped();
  void look_in(uint64_t in_ms);
  bool send_later(std::shared_ptr<const PreparedMessage> message);
  void send_waiting();
  void drop_waiting();
  void read_some();
  MutableBytes session_room();
  void take(MutableBytes received);
  void close_if_drained();
  void client_ended();
  template <class Work>
  void corked(Work work);
  void flush_cork();
  // What the bytes belong to, where they may be referred to for longer than the call.
  using Owner = std::shared_ptr<const PreparedMessage>;
  void write_or_queue(Bytes header, Bytes payload, const Owner& owner = {});
  void write(std::span<const iovec> pieces, const Owner& owner = {});
  void enqueue(Bytes bytes, Owner owner = {});
  void write_failed();
  void write_unsent();
  IoResult read(MutableBytes into) {
    return is_socket_ ? read_socket(descriptor_, into) : transport_->read(into);
  }
  IoResult write_now(std::span<const iovec> pieces) {
    return is_socket_ ? write_socket(descriptor_, pieces) : transport_->write(pieces);
  }
  bool queues() const { return rare_ && rare_->queue; }
  bool holds() const { return rare_ && rare_->held; }
  size_t unsent() const {
    return (queues() ? rare_->queue->size() : 0) + (is_socket_ ? 0 : transport_->unsent());
  }
  size_t memory_waiting() const {
    return (is_socket_ ? 0 : transport_->unsent()) + (rare_ ? rare_->memory_waiting() : 0);
  }
  size_t backlog() const {
    return unsent() + (rare_ && rare_->waiting ? rare_->waiting->bytes : 0);
  }
  bool reads() const;
  bool drained() const { return (owes_drained_ && !backlog()) || (owes_fragments_ && !unsent()); }
  void tell_drained();
  void settle();
  void tell_closed(uint16_t code, std::string_view reason, bool clean);
  void go();
  void set_deadline(uint64_t in_ms);
  uint32_t wanted_events() const;

  void on_message(Opcode type, MutableBytes payload) override;
  void on_gathered(Opcode type, Buffer& message) override;
  Buffer spare_buffer() override;
  void on_piece(Opcode type, MutableBytes piece, bool first, bool last) override;
  void on_ping(Bytes payload) override;
  void on_pong(Bytes payload) override;
  void interrupt_if_paused();
  void begin_limits();
  void look_at_limits();
  uint64_t look_at_silence(uint32_t now_ms);
  void end_if_over(uint64_t now_ms, uint64_t& next_ms);
  void go_for_memory();
  bool exceeds_control_rate();
  bool answers_ping(Bytes pong);
  template <class Call>
  void timed(Call call);
  bool charge(Rate& rate, const ConnectionLimits::Rate& limit, double amount);
  bool charge_message();
  uint64_t rate_wait_ms() const;
  void note_buffered();
  uint32_t now_ms() const;
  void note_heard(uint32_t when_ms) {
    heard_ms_ = when_ms;
    awaits_life_ = false;
  }
  void count(Counters::Direction direction, Opcode type, size_t bytes, bool whole = true) {
    auto kind = type == Opcode::text ? Counters::text : Counters::binary;
    counters_->bytes[direction][kind].add(bytes);
    totals_.bytes[direction] += bytes;
    if (site_.limits.idle_ms) message_ms_ = now_ms();
    if (!whole) return;
    counters_->messages[direction][kind].add();
    totals_.messages[direction]++;
  }
  void blame(Cause cause) {
    if (!std::exchange(caused_, true)) cause_ = cause;
  }
  void transmit(Bytes header, Bytes payload) override;
  void transmit_lasting(Bytes header, Bytes payload) override;
  void on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) override;
  DeflateShare& deflate_share() override;
  void on_due() override;

  // Messages that were sent while another went out in fragments.
  struct Waiting {
    std::vector<Owner> messages;
    size_t bytes = 0;
  };
  // Read, and not yet taken by the session but for the first bytes.
  struct Held {
    MutableBytes rest() { return MutableBytes(bytes).subspan(taken); }
    std::vector<uint8_t> bytes;
    size_t taken = 0;
  };
  struct Rates {
    Rate messages, bytes;
  };
  // What few connections have at a time.
  struct Rare {
    size_t memory_waiting() const {
      return (queue ? queue->memory() : 0) + (waiting ? waiting->bytes : 0);
    }
    bool empty() const {
      return !queue && !waiting && !held && !timers && !rates && !record && !shown;
    }
    std::unique_ptr<SendQueue> queue;  // only while it holds something
    std::unique_ptr<Waiting> waiting;
    std::unique_ptr<Held> held;
    std::unique_ptr<EndpointTimers> timers;  // from the first that is set on
    std::unique_ptr<Rates> rates;            // where the site limits them
    std::unique_ptr<Record> record;
    Shown* shown = nullptr;
  };
  Rare& make_rare();
  Shown* shown() const { return rare_ ? rare_->shown : nullptr; }
  void show_backlog() {
    if (shown()) rare_->shown->backlog = backlog();
  }

  // In this order what every message needs lies together.
  Phase phase_ = Phase::open;
  uint8_t paused_by_ = 0;  // Pausers
  const bool is_socket_, reads_all_;
  const int descriptor_;
  uint32_t interest_ = 0;        // what epoll was told
  bool watched_ = false;         // by epoll, since before the loop had it
  bool told_open_ = false;       // on_open was called, on_close not yet
  bool broken_ = false;          // a write or an allocation failed
  bool client_ended_ = false;    // its end of stream was read
  bool reads_to_end_ = false;    // a short read may not be the last: see read_some()
  bool holds_bytes_ = false;     // reading paused while the transport or held may hold bytes
  bool reads_again_ = false;     // is in that list
  bool owes_drained_ = false;    // something had to wait since on_drained was called
  bool owes_fragments_ = false;  // a fragment had to
  bool over_high_water_ = false;
  bool drops_fragments_ = false;  // the first of the message was dropped
  bool awaits_life_ = false;      // was pinged, and has not been heard since
  bool caused_ = false;           // cause_ is known
  Cause cause_{};
  uint16_t drain_code_ = 0;  // to close with when no message is arriving
  std::unique_ptr<Rare> rare_;
  Loop* loop_ = nullptr;
  Counters* counters_ = nullptr;  // of the site, on this loop
  Endpoint& endpoint_;
  size_t buffered_ = 0;  // memory for what waits, as the loop has counted it
  Ref<Attachment> attachment_;
  const Site& site_;
  uint32_t heard_ms_ = 0;    // the client sent, or read of what waits
  uint32_t message_ms_ = 0;  // a message went either way
  Totals totals_;
  Session session_;
  // The others:
  std::unique_ptr<Transport> transport_;
  uint64_t id_ = 0;
  uint64_t opened_ms_ = 0;
  Connection* next_ = nullptr;  // in the loop's list
  Connection* previous_ = nullptr;
  Connection* next_to_read_ = nullptr;  // in its list of those to read before it waits
  SmallRate control_frames_;
  uint32_t pinged_ms_ = 0;
  uint32_t over_ms_ = 0;       // when its lifetime or idle time was over
  uint32_t next_look_ms_ = 0;  // while its timer is set for that
  uint32_t ping_us_ = 0;       // the ping that awaits its pong; 0: none does
  uint32_t progress_ = 0;      // bytes written since the deadline was set
};

}  // namespace mws
