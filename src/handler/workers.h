// A bounded pool of threads for handlers that block, and the order of what they are called with:
// each connection has a strand, whose events run one at a time and in their order.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "src/base/ref.h"
#include "src/engine/loop.h"

namespace mws {

class Strand;

// What must be done, on a worker: where there is no memory for it, waits for some.
template <class Work>
void worker_insist(Work work) noexcept {
  while (true) {
    try {
      return work();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

class Workers final : private Deferred {
 public:
  // So many strands wait for the end of the turn in which a loop brings them, before the pool hears
  // of them: to wake a thread costs more than most work, and one that is faster than the loop would
  // sleep again after each.
  static constexpr size_t kAtOnce = 64;

  explicit Workers(unsigned threads) : most_(threads) {}
  ~Workers();

  // Makes sure that there is a thread. Throws std::system_error if the system has no room for one.
  void start();
  // Has one of the threads run what waits on the strand. Where the calling thread is in a turn of a
  // loop, from the end of that on at the latest, or before a callback runs on the loop. Takes no
  // memory. Any thread; after start().
  void schedule(std::shared_ptr<Strand> strand, Loop* in_turn = nullptr) noexcept;
  // Waits until nothing is left to run and ends the threads; false if that takes longer. What is
  // scheduled from then on never runs.
  bool finish(uint64_t within_ms);

 private:
  void work();
  void add_thread();
  void push(std::shared_ptr<Strand> strand);
  std::shared_ptr<Strand> pop();
  bool wakes_one();
  void wake_one();
  void run_deferred() noexcept override { wake_one(); }

  const unsigned most_;
  std::mutex lock_;
  std::condition_variable wanted_, ended_;
  std::shared_ptr<Strand> first_ready_;  // a list; from here on under lock_
  Strand* last_ready_ = nullptr;
  size_t ready_ = 0;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0, alive_ = 0;
  bool waking_ = false;  // one that was idle or is new has been told, and has not looked yet
  bool finishing_ = false;
};

class Strand final : public std::enable_shared_from_this<Strand> {
 public:
  // What may wait of one connection before it is not read any more.
  static constexpr size_t kBytes = 64 * 1024;
  static constexpr size_t kEvents = 64;

  enum class Kind : uint8_t {
    input,   // from the client: waits while the strand is paused
    notice,  // of anything else
  };

  // On each run on which the strand has become short enough again, calls resume, on the worker; and
  // last as the last of all.
  Strand(Workers& workers, std::function<void()> resume, std::function<void()> last)
      : workers_(workers), resume_(std::move(resume)), last_(std::move(last)) {}

  // Any thread. False, for input, if enough waits: its source should pause until resume. After the
  // end nothing is added. Throws std::bad_alloc, and then nothing was. in_turn: see schedule.
  bool add(Kind kind, size_t bytes, std::function<void()> event, Loop* in_turn = nullptr);
  // The last event comes, behind all that wait, but for input while the strand is paused, which
  // then never runs. Holds on to what is given until it has run. Once; takes no memory.
  void end(Ref<Counted> held) noexcept;
  // From inside of events.
  void pause();
  void resume();

 private:
  friend class Workers;
  struct Event {
    Kind kind;
    size_t bytes;
    std::function<void()> run;
  };
  bool run_one() noexcept;  // true if there is more to run
  void run_last(std::unique_lock<std::mutex> hold);
  std::deque<Event>::iterator next();
  bool has_more() { return ended_ || next() != events_.end(); }

  Workers& workers_;
  const std::function<void()> resume_, last_;
  std::shared_ptr<Strand> next_ready_;  // in the workers' list
  std::mutex lock_;
  std::deque<Event> events_;  // from here on under lock_
  Ref<Counted> held_;
  size_t bytes_ = 0;
  bool scheduled_ = false, paused_ = false, full_ = false, ended_ = false;
};

}  // namespace mws
