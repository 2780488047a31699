// An event loop: one thread that owns connections and does all of their work. Functions whose names
// start with any_thread may be called from everywhere; the rest only on the loop's thread, or
// before it runs.
#pragma once
#include <sys/epoll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/engine/budget.h"
#include "src/engine/connection.h"
#include "src/engine/cork.h"
#include "src/engine/meters.h"
#include "src/engine/timers.h"

namespace mws {

// What wants to know of a descriptor beside those of the connections.
class Source {
 public:
  // The descriptor is ready for some of these events of epoll's. On the loop's thread.
  virtual void on_ready(uint32_t events) noexcept = 0;

 protected:
  ~Source() = default;  // unwatch first
};

// What is done once for all that a turn of a loop brings.
class Deferred {
 public:
  // On the loop's thread.
  virtual void run_deferred() noexcept = 0;

 protected:
  ~Deferred() = default;
};

class Loop {
 public:
  static constexpr size_t kReceiveBytes = 512 * 1024;
  // What is done for one connection in a row should not take longer: the others wait.
  static constexpr uint64_t kSlow_ms = 100;

  // Counts in the meters, or nowhere that is seen; what waits for its connections counts in the
  // budget. Throws std::system_error when the system has no descriptors left.
  explicit Loop(size_t receive_bytes = kReceiveBytes, std::unique_ptr<Meters> meters = nullptr,
                Budget* budget = nullptr);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Serves until it is told to quit and its last connection is gone.
  void run();
  // Serves until its last connection is gone.
  void run_while_connected();

  // Hands a connection over. early is what the client sent behind its opening handshake.
  void any_thread_adopt(std::unique_ptr<Connection> connection, std::vector<uint8_t> early);
  // Runs the task, a callable without arguments that can be moved, on the loop's thread.
  template <class Task>
  void any_thread_post(Task task);
  // Closes every connection with the code, those that are yet to come too; after grace_ms none is
  // left. A later call can only shorten the grace. Like any_thread_quit it takes no lock and no
  // memory, so that a signal handler may call it.
  void any_thread_stop(uint16_t close_code, uint64_t grace_ms);
  // Closes the connections one by one, spread evenly over the time, each when the message that is
  // arriving on it has been dealt with, and those that come later at once; at the end of the time
  // stops, with the grace of kCloseTimeout_ms. Calls after the first do nothing. Throws
  // std::bad_alloc.
  void any_thread_drain(uint16_t close_code, uint64_t over_ms);
  // Tells the endpoint that holds up the loop, if one does at this moment.
  void any_thread_tell_if_held_up();
  // Ends connections for which most waits, until the budget is kept.
  void any_thread_shed();
  // Lets run() return once there is no connection.
  void any_thread_quit();
  // Calls it, on the loop's thread, each time that the descriptor becomes readable; it is not read,
  // and must outlive the loop's run. One for a loop. False if the system has no room for it.
  bool when_readable(int descriptor, std::function<void()> call);

  // Tells the source of these events of epoll's until unwatch, which comes before the descriptor is
  // closed; from then on the source may be destroyed. Watching again changes the events. A loop
  // does not run on for the sake of a source. False if the system has no room.
  bool watch(Source& source, int descriptor, uint32_t events);
  void unwatch(Source& source, int descriptor);
  // Runs it, once, when the events of this turn have been dealt with. Throws std::bad_alloc.
  void defer(Deferred& work);
  // Runs what was deferred now: before anything that may hold up the turn.
  void run_deferred() {
    if (!deferred_.empty()) run_all_deferred();
  }
  // For timers of others than connections, which reserve their place first. Throws std::bad_alloc.
  void reserve_timers(size_t timers);
  void release_timers(size_t timers) { timers_reserved_ -= timers; }
  void set_timer(Timer& timer, uint64_t in_ms);
  void cancel_timer(Timer& timer) { timers_.cancel(timer); }

  // Calls it for every connection.
  template <class Visit>
  void each_connection(Visit visit) {
    for (Connection *each = first_, *next; each; each = next) {
      next = each->next_;
      visit(*each);
    }
  }
  size_t buffered() const { return buffered_; }  // bytes that wait for clients; any thread
  bool stopping() const { return stopping_; }
  bool is_this_thread() const { return thread_ == std::this_thread::get_id(); }

  // The text or binary message that is being delivered; empty between deliveries. A text is known
  // to be UTF-8.
  bool is_current_message(Opcode type, Bytes payload) const {
    return payload.data() == current_message_.data() && payload.size() == current_message_.size() &&
           type == current_type_;
  }

 private:
  friend class Connection;
  class Mail {
   public:
    virtual ~Mail() = default;
    virtual void run() = 0;
  };

  template <class Task>
  struct Posted;

  // patient: the newcomer that it brings, where nobody waits for its start.
  void any_thread_post_mail(std::unique_ptr<Mail> mail, Connection* patient = nullptr);
  void wake();
  void turn();
  int wait_ms();
  void start(std::unique_ptr<Connection> connection, MutableBytes early);
  bool may_sleep();
  bool has_mail();
  void unwatch(void* tag, int descriptor);
  void deliver_mail();
  void run_all_deferred();
  void begin_stop_if_asked();
  void begin_drain(uint16_t close_code, uint64_t over_ms);
  void bury();

  // For a connection that blocks in an event of its own: meanwhile nothing else is done here.
  bool must_stop() const;
  bool must_drain() const { return drain_asked_; }
  void await_writable(int descriptor) const;  // or for a moment

  // From connections.
  Counters& counters(unsigned site);
  void count_buffered(Counters& counters, ptrdiff_t bytes);
  bool measures_callback() { return !(++callbacks_ & 31); }
  void shed();
  void link(Connection& connection);
  void unlink(Connection& connection);  // destroyed at the end of the turn
  uint64_t read_clock();
  uint64_t recent_ms();
  void note_time(Connection& connection) {
    if (!since_noted_.is_short()) note_long_time(connection);
  }
  void note_long_time(Connection& connection);
  bool watch(Connection& connection, uint32_t events);
  void set_interest(Connection& connection, uint32_t events);
  void read_again(Connection& connection);
  bool is_received(Bytes payload) const {
    return payload.data() >= receive_buffer_.data() &&
           payload.data() < receive_buffer_.data() + receive_buffer_.size();
  }

  // A message that is being delivered from memory of its own, which whoever must keep some of it
  // may take over.
  class Gathered {
   public:
    void begin(Buffer& message) {
      message_ = &message;
      bytes_ = message.bytes();
    }
    void end() {
      message_ = nullptr;
      bytes_ = {};
      owner_.reset();
    }
    // Not worth it for a small part of the message.
    bool may_own(Bytes part) const {
      return part.data() >= bytes_.data() && part.data() < bytes_.data() + bytes_.size() &&
             part.size() >= bytes_.size() / 8;
    }
    bool is_owned() const { return owner_ != nullptr; }
    // From then on the memory is the owner's, and goes back to the spare ones with it. Throws
    // std::bad_alloc.
    std::shared_ptr<const Buffer> own(SpareBuffers& spare);

   private:
    Buffer* message_ = nullptr;
    Bytes bytes_;
    std::shared_ptr<const Buffer> owner_;
  };

  // From its first byte, the message that is being delivered, as it lies in the receive buffer.
  bool is_received_message(Bytes payload) const {
    return payload.data() == current_message_.data() && is_received(payload);
  }

  std::unique_ptr<uint8_t[]> receive_memory_;
  MutableBytes receive_buffer_;
  DeflateShare deflate_share_;
  SpareBuffers spare_buffers_;
  Gathered gathered_;
  Cork cork_;
  Connection* corked_ = nullptr;  // whose output the cork gathers
  Bytes current_message_;
  const std::shared_ptr<const PreparedMessage>* sent_message_ = nullptr;  // while it is sent
  Opcode current_type_{};
  Timers timers_;
  Connection* first_ = nullptr;       // of all connections
  Connection* graveyard_ = nullptr;   // those that are gone, until the turn ends
  Connection* read_again_ = nullptr;  // those to read before the loop waits, a list of its own
  size_t connections_ = 0;
  size_t timers_reserved_ = 2;  // the drain's and the look's
  // When the clock was last read: some milliseconds ago at most when the work for a connection
  // begins.
  std::atomic<uint64_t> noted_ms_ = 0;
  ShortTime since_noted_;
  std::atomic<Endpoint*> serves_ = nullptr;  // whose connection is worked for
  bool serves_many_ = false;
  std::vector<Deferred*> deferred_;
  int epoll_ = -1, wakeup_ = -1;
  std::span<epoll_event> events_;  // of this turn
  std::atomic<std::thread::id> thread_{};
  bool stopping_ = false;
  uint64_t stop_deadline_ms_ = 0;  // while stopping

  std::unique_ptr<Meters> meters_;
  std::vector<Counters*> counters_;  // of the meters, by number of the site
  uint32_t callbacks_ = 0, turns_ = 0;
  Budget* budget_;
  std::atomic<size_t> buffered_ = 0;
  std::atomic<bool> sheds_ = false;

  std::atomic<bool> has_mail_ = false;  // that cannot wait; set under mail_lock_
  std::mutex mail_lock_;
  // Under mail_lock_:
  std::vector<std::unique_ptr<Mail>> mail_;
  // Or is about to: it must be woken to look at its mail. Set while that can wait.
  std::atomic<bool> sleeps_ = false;
  bool looks_ = false;  // it will come soon though nobody tells it

  struct Look final : Timer {
    explicit Look(Loop& of) : loop(of) {}
    void begin();
    void on_due() override;
    Loop& loop;
  };
  Look look_{*this};

  // The connections' turns in a drain.
  struct Drain final : Timer {
    explicit Drain(Loop& of) : loop(of) {}
    void on_due() override;
    uint64_t due_ms(size_t turn) const;
    Loop& loop;
    uint16_t close_code = 0;
    uint64_t begin_ms = 0, over_ms = 0;
    double phase = 0;  // of one turn, so that the drains of many loops do not beat together
    size_t turns = 0, turn = 0;
    Connection* next = nullptr;
  };
  Drain drain_{*this};

  std::atomic<uint64_t> stop_asked_ = 0;  // close code << 32 | grace_ms
  std::atomic<bool> quit_asked_ = false, drain_asked_ = false;
  uint16_t stop_code_ = 0;  // while stopping
  std::function<void()> when_readable_;
  int readable_ = -1;  // the descriptor of that
};

template <class Task>
struct Loop::Posted final : Mail {
  explicit Posted(Task t) : task(std::move(t)) {}
  void run() override { task(); }
  Task task;
};

template <class Task>
void Loop::any_thread_post(Task task) {
  any_thread_post_mail(std::make_unique<Posted<Task>>(std::move(task)));
}

}  // namespace mws
