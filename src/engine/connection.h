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
#include <vector>

#include "src/engine/send_queue.h"
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
class Attachment {
 public:
  virtual ~Attachment() = default;
};

enum class SendResult {
  sent,        // the kernel has it, or will when the read being dispatched is done
  queued,      // it waits for the client to read
  high_water,  // as queued, and more than kHighWater waits: send no more for now
  closed,      // nothing was sent: the connection is closing or gone
};

class Connection final : private Session::Host, private Timer {
 public:
  // While more waits to be sent, the client is not read: it feels TCP's own backpressure.
  static constexpr size_t kHighWater = 1 << 20;        // bytes
  static constexpr uint64_t kCloseTimeout_ms = 5000;   // for the client's close frame
  static constexpr uint64_t kLingerTimeout_ms = 2000;  // for the client's end of stream
  // So much of what a client sent compressed is inflated in a row, and what is left of the message
  // with which it is reached; then the others have their turn, and what waits to be sent counts.
  static constexpr uint64_t kInflatedAtOnce = 256 * 1024;  // bytes
  // A client that reads as much of what waits gets kCloseTimeout_ms anew.
  static constexpr size_t kProgress = 16 * 1024;  // bytes

  static constexpr size_t kTimers = 8;

  Connection(std::unique_ptr<Transport> transport, Endpoint& endpoint,
             const SessionSettings& settings, std::shared_ptr<Attachment> attachment);
  ~Connection();

  // may_compress: where the client has agreed to it and it is worth it.
  SendResult send(Opcode type, Bytes payload, bool may_compress = true);
  // By reference where the payload is long.
  SendResult send(const std::shared_ptr<const PreparedMessage>& message);
  // See Session::send_fragment. Messages that are sent before the last one went out wait for it.
  SendResult send_fragment(Opcode type, Bytes payload, bool last);
  // At most kMaxControlPayload bytes.
  SendResult ping(Bytes payload);
  SendResult pong(Bytes payload);
  // Starts the closing handshake; on_close follows. See Session::close for what is allowed.
  bool close(uint16_t code, std::string_view reason);
  // Ends the connection as if it had broken; on_close follows, from outside of this call.
  void abort();
  // Bytes that were sent but that the kernel did not take yet.
  size_t buffered_amount() const;
  // Inside of an event that may go on for long: lets what was sent leave now, as far as that goes
  // without waiting.
  void flush();
  // Inside of an event that may block, on a loop of its own: waits until no more than kHighWater
  // is left to be sent. False if that cannot be awaited: the connection has broken, the loop has
  // to stop, or it drains and the client has read nothing for kCloseTimeout_ms.
  bool make_room();
  // What other threads may see, from now until on_close. It outlives that.
  struct Shown {
    std::atomic<size_t> backlog = 0;  // what buffered_amount() was at the end of the last event
    std::atomic<bool> open = true;    // until a close frame goes out
  };
  void show(Shown& shown);
  // on_drained will be called if nothing waits when this work is done, or once that is so. To who
  // sends fragments, the messages that wait for the last one do not count.
  void owe_drained(bool to_fragments = false) {
    (to_fragments ? owes_fragments_ : owes_drained_) = true;
  }

  // Who has a reason not to read this client while it is open. What has been read already waits.
  enum Pauser : uint8_t { by_endpoint = 1, by_host = 2 };
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

 private:
  friend class Loop;
  struct EndpointTimers;
  enum class Phase : uint8_t { open, closing, flushing, lingering, gone };

  // From the loop.
  void loop_start(Loop& loop, MutableBytes early);
  void loop_events(uint32_t events);
  void loop_timer(uint32_t id);
  void loop_drain(uint16_t code);
  void loop_stop(uint16_t code);

  template <class Send>
  SendResult guarded_send(Send send, bool fragment = false);
  bool send_later(std::shared_ptr<const PreparedMessage> message);
  void send_waiting();
  void drop_waiting();
  void read_some();
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
  void enqueue(Bytes bytes, const Owner& owner = {});
  void write_failed();
  void write_unsent();
  size_t unsent() const { return (queue_ ? queue_->size() : 0) + transport_->unsent(); }
  size_t backlog() const { return unsent() + (waiting_ ? waiting_->bytes : 0); }
  bool reads() const;
  bool drained() const { return (owes_drained_ && !backlog()) || (owes_fragments_ && !unsent()); }
  void tell_drained();
  void settle();
  void tell_closed(uint16_t code, std::string_view reason, bool clean);
  void go();
  void set_deadline(uint64_t in_ms);
  uint32_t wanted_events() const;

  void on_message(Opcode type, MutableBytes payload) override;
  void on_piece(Opcode type, MutableBytes piece, bool first, bool last) override;
  void on_ping(Bytes payload) override;
  void on_pong(Bytes payload) override;
  void interrupt_if_paused();
  void transmit(Bytes header, Bytes payload) override;
  void transmit_lasting(Bytes header, Bytes payload) override;
  void on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) override;
  DeflateShare& deflate_share() override;
  void on_due() override;

  Session session_;
  std::unique_ptr<Transport> transport_;
  Endpoint& endpoint_;
  std::shared_ptr<Attachment> attachment_;
  Loop* loop_ = nullptr;
  std::unique_ptr<SendQueue> queue_;        // only while it holds something
  std::unique_ptr<EndpointTimers> timers_;  // from the first that is set on
  // Messages that were sent while another went out in fragments.
  struct Waiting {
    std::vector<Owner> messages;
    size_t bytes = 0;
  };
  std::unique_ptr<Waiting> waiting_;
  // Read, and not yet taken by the session but for the first bytes.
  struct Held {
    MutableBytes rest() { return MutableBytes(bytes).subspan(taken); }
    std::vector<uint8_t> bytes;
    size_t taken = 0;
  };
  std::unique_ptr<Held> held_;
  Shown* shown_ = nullptr;
  Connection* next_ = nullptr;  // in the loop's list
  Connection* previous_ = nullptr;
  Connection* next_to_read_ = nullptr;  // in its list of those to read before it waits
  uint32_t interest_ = 0;               // what epoll was told
  uint32_t progress_ = 0;               // bytes written since the deadline was set
  uint16_t drain_code_ = 0;             // to close with when no message is arriving
  Phase phase_ = Phase::open;
  uint8_t paused_by_ = 0;        // Pausers
  bool told_open_ = false;       // on_open was called, on_close not yet
  bool broken_ = false;          // a write or an allocation failed
  bool client_ended_ = false;    // its end of stream was read
  bool holds_bytes_ = false;     // reading paused while the transport or held_ may hold bytes
  bool reads_again_ = false;     // is in that list
  bool owes_drained_ = false;    // something had to wait since on_drained was called
  bool owes_fragments_ = false;  // a fragment had to
};

}  // namespace mws
