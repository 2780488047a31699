// A bounded pool of threads for handlers that block, and the order of what they are called with:
// each connection has a strand, whose events run one at a time and in their order.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace mws {

class Strand;

class Workers {
 public:
  explicit Workers(unsigned threads) : most_(threads) {}
  ~Workers();

  // Makes sure that there is a thread. Throws std::system_error if the system has no room for one.
  void start();
  // Has one of the threads run what waits on the strand. Any thread; after start().
  void schedule(std::shared_ptr<Strand> strand);
  // Waits until nothing is left to run and ends the threads; false if that takes longer. What is
  // scheduled from then on never runs.
  bool finish(uint64_t within_ms);

 private:
  void work();
  void add_thread();

  const unsigned most_;
  std::mutex lock_;
  std::condition_variable wanted_, ended_;
  std::deque<std::shared_ptr<Strand>> ready_;  // from here on under lock_
  std::vector<std::thread> threads_;
  unsigned idle_ = 0, alive_ = 0;
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
    end,     // the last: what has not run of the input never will if the strand is paused
  };

  // On each run on which the strand has become short enough again, calls resume, on the worker.
  Strand(Workers& workers, std::function<void()> resume)
      : workers_(workers), resume_(std::move(resume)) {}

  // Any thread. False, for input, if enough waits: its source should pause until resume. After the
  // end nothing runs. Throws std::bad_alloc.
  bool add(Kind kind, size_t bytes, std::function<void()> event);
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
  bool run_one();  // true if there is more to run
  std::deque<Event>::iterator next();

  Workers& workers_;
  const std::function<void()> resume_;
  std::mutex lock_;
  std::deque<Event> events_;  // from here on under lock_
  size_t bytes_ = 0;
  bool scheduled_ = false, paused_ = false, full_ = false, ended_ = false;
};

}  // namespace mws
